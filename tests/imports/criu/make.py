"""Makes images.tar.xz, beside this file: images of Debian's CRIU, which runs in a guest with Debian's kernel 6.1.

    python -m tests.imports.criu.make

It needs QEMU, gcc, busybox-static and apt, and takes a minute. CRIU does not run on every kernel, so the tests read the
images. They are of two processes without a library (target.c): nobody else's bytes are in them.
"""

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ksmbench.validate.kernels import kernel_files
from ksmbench.validate.vm import Guest

HERE = Path(__file__).parent
IMAGES = HERE / "images.tar.xz"
_PACKAGES = (
    "criu libprotobuf-c1 libnet1 libnl-3-200 libbsd0 libmd0 libnftables1 libnftnl11 libmnl0 libxtables12 libjansson4 "
    "libedit2 libtinfo6 libgnutls30 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libnettle8 libhogweed6 libgmp10 "
    "libffi8 libc6"
)
_MODULES = "libcrc32c nfnetlink nf_tables unix_diag inet_diag tcp_diag udp_diag af_packet_diag netlink_diag"
_KEPT = ("pagemap-", "pages-", "mm-", "core-")


def _unpacked(folder: Path, packages: list[str]) -> Path:
    root = folder / "root"
    subprocess.run(["apt-get", "download", *packages], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    return root


def _programs(folder: Path, kernel: str) -> dict[str, Path]:
    root = _unpacked(folder, [*_PACKAGES.split(), kernel])
    target = folder / "target"
    words = ["gcc", "-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fcf-protection=none"]
    subprocess.run([*words, "-o", str(target), str(HERE / "target.c")], check=True)
    programs = {"/bin/target": target, "/script": HERE / "script", "/usr/sbin/criu": root / "usr/sbin/criu"}
    programs["/bin/busybox"] = next(path for path in map(Path, ("/bin/busybox", "/usr/bin/busybox")) if path.exists())
    for library in root.rglob("x86_64-linux-gnu/*.so*"):
        if library.is_file():
            programs[f"/lib/x86_64-linux-gnu/{library.name}"] = library
    programs["/lib64/ld-linux-x86-64.so.2"] = programs["/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"]
    for number, module in enumerate(_MODULES.split()):
        programs[f"/modules_of_criu/{number:02}-{module}.ko"] = next(root.rglob(f"{module}.ko"))
    return programs


def _packed(images: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(images)) as whole, tarfile.open(IMAGES, "w:xz") as kept:
        for member in whole:
            name = os.path.basename(member.name)
            if member.issym() or name.startswith(_KEPT):
                member.uname = member.gname = ""
                member.mtime = 0
                kept.addfile(member, whole.extractfile(member) if member.isfile() else None)


def main() -> None:
    """Boot, dump, keep what an import reads."""
    kernel = kernel_files("6.1")
    with tempfile.TemporaryDirectory(prefix="ksmbench-criu-") as name:
        with Guest(kernel, _programs(Path(name), kernel.package)) as guest:
            ran = guest.run(["/bin/busybox", "sh", "/script"], outputs=["/images.tar"], timeout=300)
    if ran.status or "/images.tar" not in ran.outputs:
        raise SystemExit(f"status {ran.status}: {ran.printed}")
    _packed(ran.outputs["/images.tar"])


if __name__ == "__main__":
    main()
