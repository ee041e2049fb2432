"""The guest image, built from the Debian archive alone: kernel, initramfs and root file system."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
SUITE = "bookworm"
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
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")
ROOT_SIZE = "1400M"

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


def _kernel(folder: Path, scratch: Path) -> None:
    # The newest cloud kernel of the suite; only its files, it is never installed on the host.
    depends = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True
    ).stdout.split()
    package = next((word for word in depends if word.startswith("linux-image-") and word[12].isdigit()), None)
    if package is None:
        raise click.ClickException("apt knows no linux-image-cloud-amd64; run this on Debian, after apt-get update")
    # A folder that apt's own user may write to.
    scratch.chmod(0o755)
    run(["apt-get", "-o", "APT::Sandbox::User=root", "download", package], cwd=scratch)
    run(["dpkg", "-x", next(scratch.glob("linux-image-*.deb")), scratch / "kernel"])
    shutil.copy(next((scratch / "kernel/boot").glob("vmlinuz-*")), folder / "vmlinuz")
    tree = scratch / "initramfs"
    for place in ("bin", "dev", "root"):
        (tree / place).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin/busybox")
    for module in MODULES:
        shutil.copy(next((scratch / "kernel/lib/modules").rglob(f"{module}.ko")), tree)
    (tree / "init").write_text(_INITRAMFS_INIT.format(modules=" ".join(MODULES)))
    (tree / "init").chmod(0o755)
    run(["sh", "-c", f"find . | cpio --quiet -o -H newc | gzip -1 > '{folder / 'initramfs.gz'}'"], cwd=tree)


def _root(folder: Path, scratch: Path) -> None:
    tree = scratch / "root"
    run(
        ["mmdebstrap", "--variant=minbase", f"--include={','.join(GUEST_PACKAGES)}", "--quiet", SUITE, tree],
        cwd=scratch,
    )
    guest = tree / "opt/guest"
    shutil.copytree(HERE / "guest", guest)
    for script in guest.rglob("*"):
        script.chmod(0o755)
    run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, folder / "root.ext4", ROOT_SIZE])


def build(folder: Path) -> Image:
    """Build the image in `folder`, or use the one that is there; only root can."""
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "image.ready"
    image = Image(folder / "vmlinuz", folder / "initramfs.gz", folder / "root.ext4")
    with open(folder / "image.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs with one folder build it once
        if ready.exists():
            return image
        if os.geteuid() != 0:
            raise click.ClickException("building the image needs root; run this as root")
        click.echo(f"building the guest image in {folder} (about a minute and a half)", err=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as name:
            _kernel(folder, Path(name))
            _root(folder, Path(name))
        ready.touch()
    return image
