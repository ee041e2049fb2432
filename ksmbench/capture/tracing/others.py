"""Whom process_madvise advises: its event holds a descriptor and the address of a list, which are looked up."""

import os
import struct

_MOST_RANGES = 1024  # the kernel's own limit


def named_ranges(tid: int, pidfd: int, vec: int, vlen: int) -> tuple[int, list[tuple[int, int]]] | None:
    """Return the process and the ranges (address, length) that a call named; None where that is gone already."""
    try:
        with open(f"/proc/{tid}/fdinfo/{pidfd}", encoding="utf-8", errors="replace") as file:
            target = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
        memory = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            raw = os.pread(memory, 16 * min(vlen, _MOST_RANGES), vec)
        finally:
            os.close(memory)
    except (OSError, StopIteration, ValueError, OverflowError):
        return None
    return target, list(struct.iter_unpack("QQ", raw[: len(raw) // 16 * 16]))
