"""LiME: ranges of physical memory, each behind a header of 32 bytes (magic, version, first and last address)."""

import os
import struct
from pathlib import Path

from ksmbench.imports.dump import PAGE_SIZE, Area, Dump, Extent, open_file, refuse
from ksmbench.imports.magic import refuse_other

_HEADER = struct.Struct("<IIQQ8x")
_MAGIC, _VERSION = 0x4C694D45, 1


def _extents(path: Path, descriptor: int, size: int) -> list[Extent]:
    extents: list[Extent] = []
    at = 0
    while at < size:
        head = os.pread(descriptor, _HEADER.size, at)
        if at == 0 and head[:4] != _MAGIC.to_bytes(4, "little"):
            refuse(path, "is no LiME dump")
        if len(head) < _HEADER.size:
            refuse(path, f"is cut short in the header at byte {at:,}; copy it again")
        magic, version, first, last = _HEADER.unpack(head)
        if magic != _MAGIC:
            refuse(path, f"has no LiME header at byte {at:,}, where one should be")
        if version != _VERSION:
            refuse(path, f"is LiME version {version}; version {_VERSION} is what is read here")
        if last < first:
            refuse(path, f"has a range that ends before it begins, at byte {at:,}")
        at += _HEADER.size
        extents.append(Extent(first, last - first + 1, path, at))
        at += last - first + 1
    return extents


def read_lime(path: Path, *, is_first: bool) -> list[Dump]:
    """A LiME dump; a range that does not end with a page is filled up with zeros."""
    refuse_other(path, "lime")
    descriptor = open_file(path)
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            refuse(path, "is empty")
        extents = _extents(path, descriptor, size)
    finally:
        os.close(descriptor)
    areas: list[Area] = []
    end = 0
    for extent in sorted(extents, key=lambda extent: extent.address):
        first, last = extent.address // PAGE_SIZE, -(-(extent.address + extent.length) // PAGE_SIZE)
        if extent.address < end:
            refuse(path, f"has ranges that overlap, at address {extent.address:#x}")
        end = extent.address + extent.length
        start = max(first, areas[-1].end) if areas else first
        if start < last:
            areas.append(Area(start, last, name="ram"))
    dump = Dump(path.stem, "vm", areas, extents)
    n_partial = sum(extent.address % PAGE_SIZE > 0 for extent in extents)
    n_partial += sum((extent.address + extent.length) % PAGE_SIZE > 0 for extent in extents)
    if n_partial:
        dump.notes.append(f"{path.name}: {n_partial} pages that the dump holds in part are filled up with zeros")
    return [dump]
