"""What a dump says, whatever its format: mappings of one address space, and where the bytes of its pages are.

A page is present with its bytes, or absent: outside every extent, or in a hole of a sparse file. Dumps that build on an
earlier one say for some pages that they are as they were.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from ksmbench.errors import UsageError
from ksmbench.trace.schema import PAGE_LIMIT, Mapping

PAGE_SIZE = 4096
_PIECE_PAGES = 1024


@dataclass(frozen=True)
class Area:
    """A mapping: pages start .. end."""

    start: int
    end: int
    kind: Mapping = Mapping.ANONYMOUS
    name: str = ""
    advice: tuple[int, ...] = ()


@dataclass(frozen=True)
class Extent:
    """`length` bytes of memory from `address` on, which stand in the file from `offset` on."""

    address: int
    length: int
    path: Path
    offset: int


@dataclass
class Dump:
    """One address space at one moment."""

    name: str
    kind: str  # vm or process
    areas: list[Area]
    extents: list[Extent]
    pid: int | None = None
    builds_on_former: bool = False  # a page that no extent gives is as it was, if a mapping has it
    unchanged: list[tuple[int, int]] = field(default_factory=list)  # page ranges that are as they were
    notes: list[str] = field(default_factory=list)


def refuse(path: Path, what: str) -> NoReturn:
    """Raise the sentence about a file that cannot be meant."""
    raise UsageError(f"{path}: {what}")


def open_file(path: Path) -> int:
    """A descriptor of an ordinary file; raises `UsageError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror})")
    if not path.is_file():
        os.close(descriptor)
        refuse(path, "is no ordinary file")
    return descriptor


def read_bytes(path: Path, limit: int = 256 << 20) -> bytes:
    """The whole of a small file; raises `UsageError`."""
    descriptor = open_file(path)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > limit:
            refuse(path, f"is larger than {limit >> 20} MiB, which no such file is")
        return file.read()


def check_extents(dump: Dump) -> None:
    """Raise `UsageError` for memory that the files do not hold, or beyond what an address space has."""
    for extent in dump.extents:
        try:
            size = extent.path.stat().st_size
        except OSError as error:
            refuse(extent.path, f"cannot be read ({error.strerror})")
        if extent.offset + extent.length > size:
            refuse(
                extent.path,
                f"is cut short: {extent.offset + extent.length:,} bytes should be in it, {size:,} are; copy it again",
            )
        if extent.address + extent.length > PAGE_LIMIT * PAGE_SIZE:
            refuse(extent.path, f"holds memory at {extent.address:#x}, which is beyond 2^52 pages")


def _filled(descriptor: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    # The parts of the file that are no holes.
    at = start
    while at < stop:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            yield at, stop  # a file system without holes
            return
        if at >= stop:
            return
        end = min(stop, os.lseek(descriptor, at, os.SEEK_HOLE))
        yield at, end
        at = end


def _runs(descriptor: int, extent: Extent) -> Iterator[tuple[int, int]]:
    # Pages of which some byte is in the file, as ranges that do not overlap.
    last = 0
    shift = extent.address - extent.offset
    for start, stop in _filled(descriptor, extent.offset, extent.offset + extent.length):
        first = max(last, (start + shift) // PAGE_SIZE)
        last = -(-(stop + shift) // PAGE_SIZE)
        if first < last:
            yield first, last


def _read(descriptor: int, extent: Extent, first: int, n: int) -> npt.NDArray[np.uint8]:
    # Pages first .. first + n; bytes that the extent has not are zero.
    buffer = np.zeros(n * PAGE_SIZE, np.uint8)
    begin = max(first * PAGE_SIZE, extent.address)
    end = min((first + n) * PAGE_SIZE, extent.address + extent.length)
    view = buffer.data[begin - first * PAGE_SIZE : end - first * PAGE_SIZE]
    done = 0
    while done < len(view):
        got = os.preadv(descriptor, [view[done:]], begin - extent.address + extent.offset + done)
        if got == 0:
            refuse(extent.path, "became shorter while it was read")
        done += got
    return buffer.reshape(n, PAGE_SIZE)


def read_pages(dump: Dump) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Yield the present pages in pieces: their numbers, and their bytes as uint8 [n, 4096]."""
    for extent in dump.extents:
        descriptor = open_file(extent.path)
        try:
            for first, last in _runs(descriptor, extent):
                for start in range(first, last, _PIECE_PAGES):
                    n = min(_PIECE_PAGES, last - start)
                    yield np.arange(start, start + n), _read(descriptor, extent, start, n)
        except OSError as error:
            refuse(extent.path, f"cannot be read ({error.strerror})")
        finally:
            os.close(descriptor)


def n_bytes(dump: Dump) -> int:
    """Bytes in all extents."""
    return sum(extent.length for extent in dump.extents)
