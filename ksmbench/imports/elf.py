"""ELF cores: of a guest (QEMU's dump-guest-memory, virsh dump --memory-only) or of a process (gcore, the kernel)."""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from ksmbench.imports.dump import PAGE_SIZE, Area, Dump, Extent, open_file, refuse
from ksmbench.imports.magic import refuse_other
from ksmbench.trace.schema import Mapping

_IDENT = struct.Struct("<4sBBB9x")
_HEADER = struct.Struct("<HHIQQQIHHHHHH")  # behind the ident
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOTE = struct.Struct("<III")
_CORE, _LOAD, _NOTES = 4, 1, 4
_MANY = 0xFFFF  # the number of segments stands elsewhere
_WRITABLE = 2
_NT_PRPSINFO, _NT_AUXV, _NT_FILE = 3, 6, 0x46494C45
_AT_SYSINFO_EHDR = 33  # where the vdso is
_USER_END = 1 << 47  # beyond: vsyscall
_SHARED = ("/dev/zero", "/memfd:", "/SYSV", "/dev/shm/", "anon_inode:", "/anon_hugepage")
_MAX_NOTES = 64 << 20


@dataclass
class _Notes:
    is_guest: bool = False
    name: str = ""
    pid: int | None = None
    vdso: int = 0
    files: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


def _segments(path: Path, descriptor: int) -> list[_Segment]:
    head = os.pread(descriptor, 64, 0)
    if len(head) < 64 or head[:4] != b"\x7fELF":
        refuse(path, "is no ELF file")
    _, bits, order, _ = _IDENT.unpack_from(head)
    if bits != 2 or order != 1:
        refuse(path, "is an ELF file of 32 bits or of the other byte order, which is not read here")
    kind, _, _, _, phoff, shoff, _, _, phentsize, n, shentsize, _, _ = _HEADER.unpack_from(head, _IDENT.size)
    if kind != _CORE:
        refuse(path, "is an ELF file but no core")
    if n == _MANY and shentsize == _SECTION.size:
        section = os.pread(descriptor, _SECTION.size, shoff) if shoff < 1 << 62 else b""
        if len(section) < _SECTION.size:
            refuse(path, "is cut short: the number of its segments is missing")
        n = _SECTION.unpack(section)[7]
    if phentsize != _PROGRAM.size:
        refuse(path, f"has program headers of {phentsize} bytes, not of {_PROGRAM.size}")
    if phoff + n * _PROGRAM.size > os.fstat(descriptor).st_size:
        refuse(path, "is cut short in its program headers; copy it again")
    table = os.pread(descriptor, n * _PROGRAM.size, phoff)
    found = []
    for kind, flags, offset, vaddr, paddr, filesz, memsz, _ in _PROGRAM.iter_unpack(table):
        found.append(_Segment(kind, flags, offset, vaddr, paddr, filesz, memsz))
    return found


def _each_note(path: Path, descriptor: int, segment: _Segment) -> "list[tuple[bytes, int, bytes]]":
    if segment.filesz > _MAX_NOTES or segment.offset >= 1 << 62:
        refuse(path, "has notes of a size that no core has")
    data = os.pread(descriptor, segment.filesz, segment.offset)
    at, found = 0, []
    while at + _NOTE.size <= len(data):
        name_size, size, kind = _NOTE.unpack_from(data, at)
        at += _NOTE.size
        name = data[at : at + name_size].rstrip(b"\0")
        at += -(-name_size // 4) * 4
        found.append((name, kind, data[at : at + size]))
        at += -(-size // 4) * 4
    return found


def _files(desc: bytes) -> list[tuple[int, int, str]]:
    # NT_FILE: how many, the unit of offsets, three words each, then the names.
    if len(desc) < 16:
        return []
    n = struct.unpack_from("<Q", desc)[0]
    if n > (len(desc) - 16) // 24:
        return []
    names = desc[16 + 24 * n :].split(b"\0")
    found = []
    for i, name in zip(range(n), names, strict=False):
        start, end, _ = struct.unpack_from("<QQQ", desc, 16 + 24 * i)
        found.append((start, end, name.decode(errors="replace")))
    return found


def _read_notes(path: Path, descriptor: int, segments: list[_Segment]) -> _Notes:
    notes = _Notes()
    for segment in segments:
        if segment.kind != _NOTES:
            continue
        for name, kind, desc in _each_note(path, descriptor, segment):
            notes.is_guest |= name in (b"QEMU", b"VMCOREINFO")
            if name != b"CORE":
                continue
            if kind == _NT_PRPSINFO and len(desc) >= 56:
                notes.pid = struct.unpack_from("<i", desc, 24)[0]
                notes.name = desc[40:56].split(b"\0")[0].decode(errors="replace")
            elif kind == _NT_FILE:
                notes.files = _files(desc)
            elif kind == _NT_AUXV:
                pairs = dict(struct.iter_unpack("<QQ", desc[: len(desc) // 16 * 16]))
                notes.vdso = pairs.get(_AT_SYSINFO_EHDR, 0)
    return notes


def _guest(path: Path, loads: list[_Segment]) -> Dump:
    # Physical memory. With paging on, one piece of it can stand in several segments.
    areas: list[Area] = []
    extents: list[Extent] = []
    end = 0
    for load in sorted(loads, key=lambda load: (load.paddr, -load.filesz)):
        start, stop = max(load.paddr, end), load.paddr + load.filesz
        if start >= stop:
            continue
        extents.append(Extent(start, stop - start, path, load.offset + start - load.paddr))
        areas.append(Area(start // PAGE_SIZE, -(-stop // PAGE_SIZE), name="ram"))
        end = stop
    return Dump(path.stem, "vm", areas, extents)


def _file_of(notes: _Notes, load: _Segment) -> str:
    return next((name for start, end, name in notes.files if start < load.vaddr + load.memsz and load.vaddr < end), "")


def _process(path: Path, loads: list[_Segment], notes: _Notes) -> Dump:
    areas: list[Area] = []
    extents: list[Extent] = []
    end = 0
    for load in sorted(loads, key=lambda load: load.vaddr):
        stop = load.vaddr + load.memsz
        if load.vaddr >= _USER_END or load.vaddr <= notes.vdso < stop:
            continue
        if load.vaddr % PAGE_SIZE or load.memsz % PAGE_SIZE or load.filesz > load.memsz or load.vaddr < end:
            refuse(path, f"has a segment at {load.vaddr:#x} that is no mapping of whole pages of its own")
        end = stop
        name, kind = _file_of(notes, load), Mapping.ANONYMOUS
        if name:
            kind = Mapping.NEVER if name.startswith(_SHARED) else Mapping.FILE
        areas.append(Area(load.vaddr // PAGE_SIZE, stop // PAGE_SIZE, kind, name))
        # A page of a file is anonymous once it was written; a core does not tell which, so those of writable mappings.
        written = kind == Mapping.ANONYMOUS or (kind == Mapping.FILE and load.flags & _WRITABLE)
        if load.filesz and written:
            extents.append(Extent(load.vaddr, load.filesz, path, load.offset))
    dump = Dump(notes.name or path.stem, "process", areas, extents, notes.pid)
    dump.notes.append(
        f"{path.name}: pages of files in writable private mappings count as written, as a core does not tell"
    )
    return dump


def read_elf(path: Path, *, is_first: bool) -> list[Dump]:
    """A core; what a segment has in memory but not in the file, and holes of a sparse file, are absent."""
    refuse_other(path, "elf")
    descriptor = open_file(path)
    try:
        segments = _segments(path, descriptor)
        notes = _read_notes(path, descriptor, segments)
    finally:
        os.close(descriptor)
    loads = [segment for segment in segments if segment.kind == _LOAD and segment.memsz]
    if not any(load.filesz for load in loads):
        refuse(path, "is a core without any memory in it")
    return [_guest(path, loads) if notes.is_guest else _process(path, loads, notes)]
