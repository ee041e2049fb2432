"""The archive that a kernel unpacks into its first file system (cpio, "newc")."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

_FILE, _FOLDER = 0o100000, 0o040000


class File(NamedTuple):
    """One file of the archive; its folders are made as needed."""

    name: str
    data: bytes
    mode: int


def _entry(number: int, name: str, mode: int, data: bytes = b"") -> bytes:
    # Thirteen fields of eight hexadecimal digits; name and data each padded to four bytes.
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def archive(to: BinaryIO, files: Iterable[File]) -> None:
    """Write an archive of `files`."""
    number = 0
    made: set[str] = set()
    for file in files:
        for parent in reversed(PurePosixPath(file.name).parents):
            if str(parent) != "." and str(parent) not in made:
                made.add(str(parent))
                number += 1
                to.write(_entry(number, str(parent), _FOLDER | 0o755))
        number += 1
        to.write(_entry(number, file.name, _FILE | file.mode, file.data))
    to.write(_entry(0, "TRAILER!!!", 0))
