"""Bytes for the contents of a trace: no trace holds them, but their order and common prefixes say enough."""

import mmap

import numpy as np
import numpy.typing as npt

from ksmbench.errors import TraceError
from ksmbench.trace.columns import Contents


def make_pages(contents: Contents, page_size: int, pages: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """Pages uint8 [n_contents, page_size] with exactly this order and these prefixes; the first is zero.

    Each content is the least that may follow the one before: what both share, the next byte one higher, then zeroes.
    Raises `TraceError` where no bytes can have such prefixes, or where a label says that different contents have the
    same checksum, which cannot be made.
    """
    lcp = contents.lcp
    if len(np.unique(contents.checksum)) != len(contents.checksum):
        raise TraceError("contents: different contents have one checksum; the bytes for that cannot be made")
    if pages is None:
        pages = np.zeros((len(lcp), page_size), np.uint8)
    pages[0] = 0
    for row in range(1, len(lcp)):
        shared = int(lcp[row])
        byte = int(pages[row - 1, shared]) + 1
        if byte > 255:
            raise TraceError(f"contents: row {row}: over 255 contents after {shared} common bytes")
        pages[row, :shared] = pages[row - 1, :shared]
        pages[row, shared] = byte
        pages[row, shared + 1 :] = 0
    return pages


def shared_pages(contents: Contents, page_size: int) -> mmap.mmap:
    """The pages of `make_pages` in memory that child processes share; shared memory is never merged."""
    memory = mmap.mmap(-1, len(contents.lcp) * page_size)
    make_pages(contents, page_size, np.frombuffer(memory, np.uint8).reshape(-1, page_size))
    return memory
