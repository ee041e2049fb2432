"""Debian's kernels: found by package or series, fetched once, and kept ready to boot in the cache folder.

What the archive held in November 2026, the newest of each series (the upstream version is that of the package, and
decides which design it is compared with):

| series | package                                | upstream | from suite         |
|--------|----------------------------------------|----------|--------------------|
| 5.10   | linux-image-5.10.0-46-cloud-amd64         | 5.10.262 | bullseye-security  |
| 6.1    | linux-image-6.1.0-56-cloud-amd64          | 6.1.192  | bookworm-security  |
| 6.12   | linux-image-6.12.118+deb13-cloud-amd64    | 6.12.118 | trixie-security    |
| 6.16   | linux-image-6.16.12+deb13-cloud-amd64     | 6.16.12  | trixie-backports   |
| 6.17   | linux-image-6.17.13+deb13-cloud-amd64     | 6.17.13  | trixie-backports   |
| 6.18   | linux-image-6.18.15+deb13-cloud-amd64     | 6.18.15  | trixie-backports   |
| 6.19   | linux-image-6.19.14+deb13-cloud-amd64     | 6.19.14  | trixie-backports   |
| 7.0    | linux-image-7.0.13+deb13-cloud-amd64      | 7.0.13   | trixie-backports   |
| 7.1    | linux-image-7.1.13+deb13-cloud-amd64      | 7.1.13   | trixie-backports   |
| 7.2    | linux-image-7.2.13+deb14-cloud-amd64      | 7.2.13   | unstable           |
| 7.3    | linux-image-7.3.4+deb13-cloud-amd64       | 7.3.4    | trixie-backports   |
"""

import json
import lzma
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.validate.apt import Package, PrivateApt, private_apt
from ksmbench.validate.building import cache_folder
from ksmbench.validate.bzimage import uncompressed

# The cloud flavour differs from the ordinary one in drivers only, and is a third of its size.
_FLAVOUR = "-cloud-amd64"
_SERIES = re.compile(r"\d+(\.\d+)*(\.x)?")
_PARTS = re.compile(r"linux-(image|binary|modules)-\d")
# What the channel to the host needs (vm.py), where the kernel does not have it built in.
_MODULES = ("virtio_pci", "virtio_console")
_FACTS = "kernel.json"
_IMAGE = "vmlinux"


@dataclass(frozen=True)
class KernelFiles:
    """A kernel that can be booted: its image and the modules to load, in their order."""

    package: str
    version: str  # Debian's
    release: str  # as `uname -r` prints it
    folder: Path

    @property
    def image(self) -> Path:
        """The kernel that QEMU starts."""
        return self.folder / _IMAGE

    @property
    def modules(self) -> list[Path]:
        """The modules that a guest loads, those first that others need."""
        return sorted(self.folder.glob("*.ko"))

    @property
    def upstream(self) -> str:
        """The mainline version it is made of: 6.1.192, or 7.3 for its release candidates."""
        return _upstream(self.version)


def _upstream(version: str) -> str:
    matched = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return matched[1] if matched else version


def _age(package: Package) -> tuple[object, ...]:
    # Newest last: by the numbers of the upstream version, release candidates before it, then by Debian's revision.
    numbers = tuple(int(part) for part in _upstream(package.version).split("."))
    rest = tuple(int(part) for part in re.findall(r"\d+", package.version))
    return (numbers, "~rc" not in package.version, rest, package.name)


def _is_kernel(package: Package) -> bool:
    return package.name.startswith("linux-image-") and package.name.endswith(_FLAVOUR)


def _in_series(package: Package, series: str) -> bool:
    wanted = series.removesuffix(".x").split(".")
    return _upstream(package.version).split(".")[: len(wanted)] == wanted


def resolve(name: str, packages: dict[str, Package]) -> Package:
    """The package that `name` means: itself, or the newest of a series such as 6.1, 7.x or 6.12.117."""
    if name in packages:
        return packages[name]
    kernels = [package for package in packages.values() if _is_kernel(package)]
    if _SERIES.fullmatch(name):
        found = [package for package in kernels if _in_series(package, name)]
        if found:
            return max(found, key=_age)
    numbers = {tuple(int(part) for part in _upstream(kernel.version).split(".")[:2]) for kernel in kernels}
    offered = ", ".join(".".join(map(str, pair)) for pair in sorted(numbers))
    raise UsageError(f"Debian's archive has no kernel {name} here; it has packages of the series {offered}")


def _parts(package: Package, packages: dict[str, Package]) -> list[Package]:
    # From 6.19 on the kernel, its modules and its configuration are packages of their own; some only name one.
    found = [package]
    for part in found:
        needed = [packages[name] for name in part.depends if _PARTS.match(name) and name in packages]
        found += [package for package in needed if package not in found]
    return found


def kernel_files(name: str) -> KernelFiles:
    """The kernel that `name` means: a package, or a series such as 6.1 or 7.x for its newest package.

    Fetched from Debian's archive when it is not in the cache folder; where the archive cannot be reached, the newest in
    that folder.
    """
    for kernel in _kept():
        if kernel.package == name:
            return kernel
    apt = private_apt()
    try:
        packages = apt.packages()
    except KsmbenchError:
        kept = kept_kernel(name)
        if kept is None:
            raise
        return kept
    try:
        package = resolve(name, packages)
    except UsageError:
        packages = apt.packages(newer=True)
        package = resolve(name, packages)
    folder = cache_folder("kernels") / f"{package.name}_{package.version}"
    if not (folder / _FACTS).exists():
        _fetch(package, packages, apt, folder)
    return _opened(folder)


def kept_kernel(name: str) -> KernelFiles | None:
    """The kernel that `name` means among those in the cache folder, or None."""
    kept = _kept()
    try:
        package = resolve(name, {kernel.package: Package(kernel.package, kernel.version, ()) for kernel in kept})
    except UsageError:
        return None
    return next(kernel for kernel in kept if (kernel.package, kernel.version) == (package.name, package.version))


def _kept() -> list[KernelFiles]:
    return [_opened(facts.parent) for facts in sorted(cache_folder("kernels").glob(f"*/{_FACTS}"))]


def _opened(folder: Path) -> KernelFiles:
    facts = json.loads((folder / _FACTS).read_text())
    return KernelFiles(facts["package"], facts["version"], facts["release"], folder)


def _fetch(package: Package, packages: dict[str, Package], apt: PrivateApt, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as temporary:
        tree, kept = Path(temporary, "tree"), Path(temporary, "kept")
        tree.mkdir()
        kept.mkdir()
        for part in _parts(package, packages):
            _unpack(apt.download(part, Path(temporary)), tree)
        facts = {"package": package.name, "version": package.version, "release": _keep(package, tree, kept)}
        (kept / _FACTS).write_text(json.dumps(facts))
        if not folder.exists():  # another process may have been faster
            kept.rename(folder)


def _unpack(file: Path, to: Path) -> None:
    ran = subprocess.run(["dpkg-deb", "-x", str(file), str(to)], capture_output=True, text=True)
    if ran.returncode != 0:
        raise KsmbenchError(f"{file.name} could not be unpacked: {ran.stderr.strip()}")


def _keep(package: Package, tree: Path, kept: Path) -> str:
    """Move what a guest needs of the unpacked packages to `kept`; return the kernel's release."""
    # /boot/vmlinuz-RELEASE, from 6.19 on /usr/lib/modules/RELEASE/vmlinuz
    found = [*tree.glob("boot/vmlinuz-*"), *tree.glob("usr/lib/modules/*/vmlinuz")]
    if not found:
        raise KsmbenchError(f"{package.name} {package.version} holds no vmlinuz")
    compressed = found[0].read_bytes()
    (kept / _IMAGE).write_bytes(uncompressed(compressed) or compressed)
    for number, (name, data) in enumerate(_closure(tree, _MODULES)):
        (kept / f"{number:02}-{name}.ko").write_bytes(data)
    return found[0].name.removeprefix("vmlinuz-") if found[0].parent.name == "boot" else found[0].parent.name


def _closure(tree: Path, wanted: Iterable[str]) -> list[tuple[str, bytes]]:
    """The modules `wanted` and those they need, these first; what is built in has no file and needs none."""
    files = {path.name.split(".ko")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    done: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in done or name not in files:
            return
        data = files[name].read_bytes()
        if files[name].suffix == ".xz":
            data = lzma.decompress(data)
        needs = re.search(rb"\0depends=([\w,-]*)\0", data)
        for needed in needs[1].decode().split(",") if needs else ():
            add(needed.replace("-", "_"))
        done[name] = data

    for name in wanted:
        add(name)
    return list(done.items())
