"""The guest images, built from the Debian archive alone: kernel, initramfs and root file system of a release."""

import fcntl
import lzma
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ksmbench.validate.apt import private_apt
from ksmbench.validate.kernels import resolve

HERE = Path(__file__).resolve().parent
RELEASES = {"bookworm": "6.1", "trixie": "6.12"}  # Debian's releases, each with its own series of kernels
HOST_PACKAGES = (
    "qemu-system-x86",
    "qemu-utils",
    "seabios",
    "ipxe-qemu",
    "mmdebstrap",
    "busybox-static",
    "cpio",
    "e2fsprogs",
)
GUEST_PACKAGES = (
    "redis-server redis-tools nginx-light apache2-utils memcached sqlite3 python3 gcc libc6-dev "
    "rsyslog cron iproute2 procps kmod"
).split()
# In the order in which they can be loaded; the cloud kernel has ext4 built in.
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_balloon",
)
ROOT_SIZE = "1600M"

_INITRAMFS_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /$module.ko; done
until /bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root; do /bin/busybox sleep 0.1; done
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /opt/guest/init
"""


@dataclass(frozen=True)
class Image:
    """What a guest boots from; `root` is a raw ext4 file that guests only read."""

    kernel: Path
    initramfs: Path
    root: Path


def run(command: Sequence[str | Path], cwd: Path | None = None) -> None:
    """Run `command`; ends with its last lines of output where it fails."""
    done = subprocess.run(list(command), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-5:])
        raise click.ClickException(f"{command[0]} failed with status {done.returncode}:\n{tail}")


def install_host_packages() -> None:
    """Install what the host lacks by apt, and say so."""
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *HOST_PACKAGES]
    status = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
    missing = [package for package in HOST_PACKAGES if f"{package} installed" not in status]
    if not missing:
        return
    click.echo(f"installing by apt: {' '.join(missing)}", err=True)
    run(["apt-get", "update", "-qq"])
    run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing])


def _kernel(release: str, folder: Path, scratch: Path) -> None:
    # The newest cloud kernel of the release's series; only its files, it is never installed on the host.
    apt = private_apt()
    run(["dpkg-deb", "-x", apt.download(resolve(RELEASES[release], apt.packages()), scratch), scratch / "kernel"])
    shutil.copy(next((scratch / "kernel/boot").glob("vmlinuz-*")), folder / "vmlinuz")
    tree = scratch / "initramfs"
    for place in ("bin", "dev", "root"):
        (tree / place).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin/busybox")
    modules = []
    for module in MODULES:
        file = next((scratch / "kernel").rglob(f"{module}.ko*"), None)
        if file is not None:  # what is built in has no file
            data = file.read_bytes()
            (tree / f"{module}.ko").write_bytes(lzma.decompress(data) if file.suffix == ".xz" else data)
            modules.append(module)
    (tree / "init").write_text(_INITRAMFS_INIT.format(modules=" ".join(modules)))
    (tree / "init").chmod(0o755)
    run(["sh", "-c", f"find . | cpio --quiet -o -H newc | gzip -1 > '{folder / 'initramfs.gz'}'"], cwd=tree)


def _root(release: str, folder: Path, scratch: Path) -> None:
    tree = scratch / "root"
    run(
        ["mmdebstrap", "--variant=minbase", f"--include={','.join(GUEST_PACKAGES)}", "--quiet", release, tree],
        cwd=scratch,
    )
    guest = tree / "opt/guest"
    shutil.copytree(HERE / "guest", guest)
    for script in guest.rglob("*"):
        script.chmod(0o755)
    run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, folder / "root.ext4", ROOT_SIZE])


def cache_folder() -> Path:
    """Where images stay from one run to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / "ksmbench-guests"


def build(root: Path, release: str = "bookworm") -> Image:
    """Build the image of a release in its folder under `root`, or use the one that is there; only root can."""
    folder = root / release
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "image.ready"
    image = Image(folder / "vmlinuz", folder / "initramfs.gz", folder / "root.ext4")
    with open(folder / "image.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs with one folder build it once
        if ready.exists():
            return image
        if os.geteuid() != 0:
            raise click.ClickException("building the image needs root; run this as root")
        click.echo(f"building the image of {release} in {folder} (about a minute and a half)", err=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as name:
            Path(name).chmod(0o755)  # a folder that apt's own user may write to
            _kernel(release, folder, Path(name))
            _root(release, folder, Path(name))
        ready.touch()
    return image
