"""Files of other kinds, known by their first bytes: each is refused with what to do instead."""

import os
from pathlib import Path

from ksmbench.imports.dump import open_file, refuse

_KDUMP = (
    "is a kdump-compressed dump, which makedumpfile does not turn back into ELF; dump again as ELF, which is "
    "dump-guest-memory without -z, -l or -s, virsh dump --memory-only without --format, makedumpfile -E of /proc/vmcore"
)
_UNPACK = "is compressed; unpack it first ({} -d)"
_KINDS: tuple[tuple[bytes, str, str], ...] = (  # first bytes, the format that takes them, what is said elsewhere
    (b"\x7fELF", "elf", "is an ELF file; import it as elf"),
    (b"EMiL", "lime", "is a LiME dump; import it as lime"),
    (b"AVML", "", "is a compressed dump of AVML; make it a LiME dump (avml-convert FILE NEW) and import that as lime"),
    (b"KDUMP   ", "", _KDUMP),
    (b"DISKDUMP", "", _KDUMP),
    (b"makedumpfile", "", _KDUMP),
    (b"QEVM", "", "is a QEMU migration stream and no memory dump; use pmemsave or dump-guest-memory"),
    (b"LibvirtQemudSave", "", "is a saved guest and no memory dump; use virsh dump --memory-only"),
    (b"QFI\xfb", "", "is a qcow2 image and no memory dump"),
    (b"\x1f\x8b\x08", "", _UNPACK.format("gzip")),
    (b"\x28\xb5\x2f\xfd", "", _UNPACK.format("zstd")),
    (b"\xfd7zXZ\0", "", _UNPACK.format("xz")),
    (b"\x04\x22\x4d\x18", "", _UNPACK.format("lz4")),
)


def refuse_other(path: Path, wanted: str) -> None:
    """Raise `UsageError` for a file that is known to be something else than the format `wanted`."""
    descriptor = open_file(path)
    try:
        head = os.pread(descriptor, 16, 0)
    finally:
        os.close(descriptor)
    for first, of, what in _KINDS:
        if head.startswith(first) and of != wanted:
            refuse(path, what)
