"""Files that are a guest's memory from address 0 on (QMP pmemsave, Firecracker, VMware), and Cloud Hypervisor's."""

import json
from pathlib import Path
from typing import Any

from ksmbench.imports.dump import PAGE_SIZE, Area, Dump, Extent, read_bytes, refuse
from ksmbench.imports.magic import refuse_other


def _size(path: Path) -> int:
    # Of a file that is whole pages of memory.
    refuse_other(path, "raw")
    size = path.stat().st_size
    if size == 0:
        refuse(path, "is empty")
    if size % PAGE_SIZE:
        refuse(path, f"has {size:,} bytes, which is no whole number of pages; it is no raw dump, or cut short")
    return size


def read_raw(path: Path, *, is_first: bool) -> list[Dump]:
    """A raw dump: byte k of the file is byte k of memory; a hole is absent."""
    size = _size(path)
    areas = [Area(0, size // PAGE_SIZE, name="ram")]
    return [Dump(path.stem, "vm", areas, [Extent(0, size, path, 0)])]


def read_firecracker(path: Path, *, is_first: bool) -> list[Dump]:
    """Firecracker's memory file: full at first, then diffs, of which a hole says that nothing was written there."""
    dumps = read_raw(path, is_first=is_first)
    dumps[0].builds_on_former = not is_first
    return dumps


def _memory_manager(path: Path) -> Any:
    # The state of the memory manager inside state.json: JSON as a text, or (older) as a list of its bytes.
    try:
        tree = json.loads(read_bytes(path))
        data = tree["snapshots"]["memory-manager"]["snapshot_data"]
        state = data.get("state", data.get("snapshot"))
        if isinstance(state, list):
            state = bytes(state)
        return json.loads(state) if isinstance(state, str | bytes) else state
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        refuse(path, "is no state of a Cloud Hypervisor snapshot, which says where the guest's memory is")


def _ranges(path: Path) -> list[tuple[int, int]]:
    try:
        found = [(entry["gpa"], entry["length"]) for entry in _memory_manager(path)["memory_ranges"]["data"]]
    except (KeyError, TypeError):
        refuse(path, "does not say where the guest's memory is")
    for gpa, length in found:
        aligned = isinstance(gpa, int) and isinstance(length, int) and gpa % PAGE_SIZE == length % PAGE_SIZE == 0
        if not aligned or gpa < 0 or length <= 0:
            refuse(path, f"has a range of memory that is no range of pages ({gpa!r:.30}, {length!r:.30})")
    ordered = sorted(found)
    if any(gpa + length > after for (gpa, length), (after, _) in zip(ordered, ordered[1:], strict=False)):
        refuse(path, "has ranges of memory that overlap")
    return found


def read_cloud_hypervisor(path: Path, *, is_first: bool) -> list[Dump]:
    """A snapshot's folder, or its file `memory-ranges`: the ranges that state.json beside it lists, in that order."""
    memory = path / "memory-ranges" if path.is_dir() else path
    size = _size(memory)
    found = _ranges(memory.with_name("state.json"))
    extents, offset = [], 0
    for gpa, length in found:
        extents.append(Extent(gpa, length, memory, offset))
        offset += length
    if offset != size:
        refuse(memory, f"has {size:,} bytes where state.json lists {offset:,}; copy the snapshot again")
    areas = [Area(gpa // PAGE_SIZE, (gpa + length) // PAGE_SIZE, name="ram") for gpa, length in sorted(found)]
    return [Dump(memory.resolve().parent.name, "vm", areas, extents)]
