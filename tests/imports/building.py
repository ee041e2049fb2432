"""Dumps as the tools' published layouts have them, and what a trace holds of them."""

import json
import os
import struct
from pathlib import Path

import numpy as np

from ksmbench.trace.store import open_trace
from ksmbench.trace.tables import read_pages
from tests.reshape.holding import Player

PAGE = 4096


def page(seed: int) -> bytes:
    """The bytes of a page; 0 is all zero."""
    if seed == 0:
        return bytes(PAGE)
    return np.random.default_rng(seed).integers(0, 256, PAGE, dtype=np.uint8).tobytes()


def sparse(path: Path, pages: dict[int, bytes], n: int) -> Path:
    """A file of `n` pages that is a hole but for some."""
    with path.open("wb") as file:
        for number, data in pages.items():
            os.pwrite(file.fileno(), data, number * PAGE)
        file.truncate(n * PAGE)
    return path


def held(path: Path, time_ns: int = 1 << 60) -> list[dict[int, bytes]]:
    """The bytes of every page that each space of a trace with contents has at some time."""
    trace = open_trace(path)
    data = np.concatenate(list(read_pages(path, PAGE)))
    player = Player(trace)
    player.play_until(time_ns)
    spaces: list[dict[int, bytes]] = [{} for _ in trace.spaces]
    for (space, number), (content, _, _) in player.held({i: i for i in range(len(spaces))}).pages.items():
        spaces[space][number] = data[content].tobytes()
    return spaces


def lime(path: Path, ranges: list[tuple[int, bytes]]) -> Path:
    """A LiME dump."""
    parts = []
    for address, data in ranges:
        parts.append(struct.pack("<IIQQ8x", 0x4C694D45, 1, address, address + len(data) - 1) + data)
    path.write_bytes(b"".join(parts))
    return path


def cloud_hypervisor(folder: Path, ranges: list[tuple[int, bytes]]) -> Path:
    """A snapshot of Cloud Hypervisor."""
    folder.mkdir()
    (folder / "memory-ranges").write_bytes(b"".join(data for _, data in ranges))
    listed = [{"gpa": address, "length": len(data)} for address, data in ranges]
    state = json.dumps({"memory_ranges": {"data": listed}, "boot_ram": 1})
    tree = {"snapshots": {"memory-manager": {"snapshots": {}, "snapshot_data": {"state": state}}}}
    (folder / "state.json").write_text(json.dumps(tree))
    return folder


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(**fields: int | bytes) -> bytes:
    """A message of Protocol Buffers; f1=… is field 1."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        if isinstance(value, bytes):
            out += _varint(number << 3 | 2) + _varint(len(value)) + value
        else:
            out += _varint(number << 3) + _varint(value)
    return out


def image(path: Path, magic: int, messages: list[bytes]) -> None:
    """An image of CRIU."""
    body = b"".join(struct.pack("<I", len(each)) + each for each in messages)
    path.write_bytes(struct.pack("<II", 0x54564319, magic) + body)


PAGEMAP, MM, CORE = 0x56084025, 0x57492820, 0x55053847


def criu(folder: Path, pid: int, pages: dict[int, bytes | None]) -> Path:
    """Images of one process: pages by number, None for those that are in the parent's images."""
    folder.mkdir(exist_ok=True)
    entries = [message(f1=pid)]
    data = b""
    for number, content in pages.items():
        entries.append(message(f1=number * PAGE, f2=1, f4=1 if content is None else 4))
        data += content or b""
    image(folder / f"pagemap-{pid}.img", PAGEMAP, entries)
    (folder / f"pages-{pid}.img").write_bytes(data)
    return folder


def elf(path: Path, segments: list[tuple[int, bytes, int]], *, guest: bool = False, pid: int = 0) -> Path:
    """A core: segments of an address, bytes, and the length in memory; `pid` says of which process."""
    note = struct.pack("<III", 5, 0, 0) + b"QEMU\0\0\0\0" if guest else b""
    if pid:
        who = struct.pack("<24xi12x16s80s", pid, b"prog", b"prog")
        note += struct.pack("<III", 5, len(who), 3) + b"CORE\0\0\0\0" + who
    n = len(segments) + 1
    offset = 64 + 56 * n
    head = struct.pack("<4sBBB9x", b"\x7fELF", 2, 1, 1)
    head += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, n, 64, 0, 0)
    programs = struct.pack("<IIQQQQQQ", 4, 0, offset, 0, 0, len(note), len(note), 1)
    body = note
    for address, data, memory in segments:
        where = (0, address) if guest else (address, 0)
        programs += struct.pack("<IIQQQQQQ", 1, 6, offset + len(body), *where, len(data), memory, 1)
        body += data
    path.write_bytes(head + programs + body)
    return path
