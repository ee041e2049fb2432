"""Asks KSM to merge a program's own memory: by madvise as a program that knows of it, or by prctl for all of it."""

import ctypes
import os
import sys

_MADV_MERGEABLE = 12
_PR_SET_MEMORY_MERGE = 67
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


def opt_in() -> None:
    """PR_SET_MEMORY_MERGE: every mapping that can be merged, now and later, here and in what is forked or executed."""
    if _libc.prctl(_PR_SET_MEMORY_MERGE, ctypes.c_ulong(1), zero := ctypes.c_ulong(0), zero, zero) != 0:
        why = os.strerror(ctypes.get_errno())
        sys.exit(f"PR_SET_MEMORY_MERGE is refused ({why}); it needs Linux 6.4 or newer")
