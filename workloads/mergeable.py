"""Asks KSM to merge a program's own memory, as a program does that knows of madvise."""

import ctypes
import os

_MADV_MERGEABLE = 12
_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def advise_all() -> int:
    """Advise MERGEABLE for every private anonymous writable mapping of this process; returns how many there are.

    What was advised before stays so: the kernel does nothing then. New mappings need a new call.
    """
    n = 0
    with open(f"/proc/{os.getpid()}/maps", encoding="ascii", errors="replace") as lines:
        mappings = [line.split() for line in lines]
    for span, permissions, _, _, inode, *name in mappings:
        if permissions.startswith("rw") and permissions[3] == "p" and inode == "0" and name != ["[stack]"]:
            start, end = (int(edge, 16) for edge in span.split("-"))
            n += _libc.madvise(start, end - start, _MADV_MERGEABLE) == 0
    return n
