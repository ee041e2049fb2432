"""CRIU images: pagemap-PID.img says which pages pages-N.img holds, mm-PID.img what is mapped, core-PID.img the name.

An image is two magic numbers, then messages of Protocol Buffers, each behind its length in four bytes.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ksmbench.imports.dump import PAGE_SIZE, Area, Dump, Extent, read_bytes, refuse
from ksmbench.trace.schema import Advice, Mapping

_COMMON, _PAGEMAP, _MM, _CORE = 0x54564319, 0x56084025, 0x57492820, 0x55053847
_TASK, _COMM = 3, 6  # fields of a core and of the task in it
_PAGEMAP_NAME = re.compile(r"pagemap-(\d+)\.img")
_IN_PARENT, _PRESENT = 1, 4  # flags of a range of pages
_ANON_PRIVATE, _FILE_PRIVATE = 1 << 9, 1 << 6  # status of a mapping
_OF_THE_KERNEL = 1 << 2 | 1 << 3 | 1 << 12  # vsyscall, vdso, vvar
_NAMES = {1 << 5: "[heap]", 1 << 1: "[stack]"}
_CARRIED = (Advice.DONTFORK, Advice.MERGEABLE, Advice.HUGEPAGE, Advice.NOHUGEPAGE, Advice.WIPEONFORK)
_MAX_PARENTS = 100

Message = dict[int, list[int | bytes]]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value & (1 << 64) - 1, at


def _message(data: bytes) -> Message:
    # Field numbers with their values. Raises IndexError or ValueError where it is none.
    found: Message = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: int | bytes
        if key & 7 == 0:
            value, at = _varint(data, at)
        elif key & 7 == 2:
            size, at = _varint(data, at)
            value = data[at : at + size]
            at += size
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
            value = data[at : at + size]
            at += size
        else:
            raise ValueError("no wire type")
        if at > len(data):
            raise IndexError
        found.setdefault(key >> 3, []).append(value)
    return found


def _messages(path: Path, magic: int, what: str) -> Iterator[Message]:
    data = read_bytes(path)
    if data[:8] != struct.pack("<II", _COMMON, magic):
        refuse(path, f"is no {what} of CRIU's")
    at = 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if at + size > len(data):
            refuse(path, "is cut short; copy it again")
        try:
            yield _message(data[at : at + size])
        except (IndexError, ValueError):
            refuse(path, f"is damaged near byte {at:,}; copy it again")
        at += size


def _number(message: Message, field_number: int, default: int = 0) -> int:
    value = message.get(field_number, [default])[-1]
    return value if isinstance(value, int) else default


@dataclass
class _Pages:
    # What one pagemap says: extents, and page ranges that are in the parent's images.
    extents: list[Extent] = field(default_factory=list)
    in_parent: list[tuple[int, int]] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)  # both, in order


def _read_pagemap(path: Path) -> _Pages:
    messages = _messages(path, _PAGEMAP, "pagemap")
    head = next(messages, None)
    if head is None:
        refuse(path, "is empty")
    pages = path.with_name(f"pages-{_number(head, 1)}.img")
    result, offset, end = _Pages(), 0, 0
    for message in messages:
        address, n = _number(message, 1), _number(message, 2)
        if address % PAGE_SIZE or address < end or n == 0:
            refuse(path, f"has pages at {address:#x} that are no range of their own")
        end = address + n * PAGE_SIZE
        start = address // PAGE_SIZE
        flags = _number(message, 4) or (_IN_PARENT if _number(message, 3) else _PRESENT)
        result.ranges.append((start, start + n))
        if flags & _IN_PARENT:
            result.in_parent.append((start, start + n))
        elif flags & _PRESENT:
            result.extents.append(Extent(address, n * PAGE_SIZE, pages, offset))
            offset += n * PAGE_SIZE
    return result


def _in_parents(folder: Path, name: str, wanted: list[tuple[int, int]], depth: int = 0) -> list[Extent]:
    # Where the images that a dump builds on, by the link `parent`, hold the pages.
    path = folder / name
    if depth > _MAX_PARENTS or not path.is_file():
        refuse(path, "is missing, although later images build on it")
    found = _read_pagemap(path)
    extents, deeper = [], []
    for start, end in wanted:
        for extent in found.extents:
            first = extent.address // PAGE_SIZE
            low, high = max(start, first), min(end, first + extent.length // PAGE_SIZE)
            if low < high:
                offset = extent.offset + (low - first) * PAGE_SIZE
                extents.append(Extent(low * PAGE_SIZE, (high - low) * PAGE_SIZE, extent.path, offset))
        for first, last in found.in_parent:
            if max(start, first) < min(end, last):
                deeper.append((max(start, first), min(end, last)))
    if deeper:
        extents += _in_parents(folder / "parent", name, deeper, depth + 1)
    return extents


def _areas(path: Path) -> list[Area]:
    found = []
    for message in _messages(path, _MM, "list of mappings"):
        for raw in message.get(14, []):
            try:
                vma = _message(raw if isinstance(raw, bytes) else b"")
            except (IndexError, ValueError):
                refuse(path, "has a damaged mapping; copy it again")
            start, end, status, advice = (_number(vma, n) for n in (1, 2, 7, 9))
            if start % PAGE_SIZE or end % PAGE_SIZE or start >= end:
                refuse(path, f"has a mapping at {start:#x} that is no range of pages")
            if status & _OF_THE_KERNEL:
                continue
            kind = Mapping.NEVER
            if status & _ANON_PRIVATE:
                kind = Mapping.ANONYMOUS
            elif status & _FILE_PRIVATE:
                kind = Mapping.FILE
            name = next((name for bit, name in _NAMES.items() if status & bit), "")
            carried = tuple(int(a) for a in _CARRIED if advice >> a & 1)
            found.append(Area(start // PAGE_SIZE, end // PAGE_SIZE, kind, name, carried))
    return sorted(found, key=lambda area: area.start)


def _name(path: Path, pid: int) -> str:
    if not path.is_file():
        return f"pid-{pid}"
    for message in _messages(path, _CORE, "core"):
        task = message.get(_TASK, [b""])[-1]
        try:
            comm = _message(task if isinstance(task, bytes) else b"").get(_COMM, [b""])[-1]
        except (IndexError, ValueError):
            refuse(path, "has a damaged task; copy it again")
        if isinstance(comm, bytes) and comm:
            return comm.decode(errors="replace")
    return f"pid-{pid}"


def _dump(path: Path, pid: int, *, is_first: bool) -> Dump:
    pages = _read_pagemap(path)
    mm = path.with_name(f"mm-{pid}.img")
    areas = _areas(mm) if mm.is_file() else [Area(start, end) for start, end in pages.ranges]
    name = _name(path.with_name(f"core-{pid}.img"), pid)
    dump = Dump(name, "process", areas, pages.extents, pid)
    if not pages.in_parent:
        return dump
    parent = path.with_name("parent")
    if parent.is_dir():
        dump.extents = sorted(
            dump.extents + _in_parents(parent, path.name, pages.in_parent), key=lambda extent: extent.address
        )
    elif is_first:
        refuse(path, "builds on earlier images, and there is no link `parent` to them; give those first, with --at")
    else:
        dump.unchanged = pages.in_parent
    return dump


def read_criu(path: Path, *, is_first: bool) -> list[Dump]:
    """A folder of images, or one pagemap in it: a space for each process."""
    files = [path] if path.is_file() else sorted(path.glob("pagemap-*.img"))
    found = [(file, match) for file in files if (match := _PAGEMAP_NAME.fullmatch(file.name))]
    if not found:
        refuse(path, "holds no pagemap-PID.img of CRIU's")
    return [_dump(file, int(match[1]), is_first=is_first) for file, match in found]
