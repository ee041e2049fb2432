"""The bytes of another process's pages, many at a time, and which of them differ from what was seen before."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.capture.procfs import PAGE_SIZE, ProcessGoneError, denied
from ksmbench.jit import Integer, kernel
from ksmbench.trace.checksum import xxh64
from ksmbench.trace.ranking import ContentStore

PIECE_PAGES = 1024  # 4 MiB: large enough for full speed
WORDS = PAGE_SIZE // 8
_BLOCK = 64  # words that are compared at a time


@kernel
def _differing(words: Any, stored: Any, previous: Any, differs: Any, n_words: Integer) -> None:
    # Page i of `words` against content previous[i]; a negative number is no content, so the page differs.
    for i in range(len(previous)):
        known = previous[i]
        differs[i] = known < 0
        if known < 0:
            continue
        # Blocks without a branch inside and unsigned indices, which cannot count from the end: the compiler makes
        # vector code of them, four times as fast as of eight words and signed ones.
        a, b = np.uint64(i * n_words), np.uint64(known * n_words)
        for block in range(0, n_words, _BLOCK):
            some = np.uint64(0)
            for k in range(block, block + _BLOCK):
                some |= words[a + np.uint64(k)] ^ stored[b + np.uint64(k)]
            if some != np.uint64(0):
                differs[i] = True
                break


@kernel
def _hashed_otherwise(words: Any, digests: Any, previous: Any, differs: Any, n_words: Integer) -> None:
    for i in range(len(previous)):
        known = previous[i]
        differs[i] = known < 0 or xxh64(words, i * n_words, n_words) != digests[known]


def differing(
    pages: npt.NDArray[np.uint8], store: ContentStore, previous: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return which pages of uint8 [n, page_size] are not content previous[i] (int64 [n], -1 for none) of `store`.

    Contents in memory are compared byte by byte. Where they are on disk, reading all of them again at every look would
    take minutes: then a page differs where its 64-bit hash does (one change in 2^64 is overlooked).
    """
    result = np.zeros(len(previous), np.bool_)
    words = pages.reshape(-1).view(np.uint64)
    if store.on_disk:
        _hashed_otherwise(words, store.digests, previous, result, WORDS)
    else:
        _differing(words, store.words, previous, result, WORDS)
    return result


class Reader:
    """Reads pages of other processes into one buffer, which is touched once and used again.

    There are two ways. /proc/PID/mem changes nothing. process_vm_readv is twice as fast, but gives the process a copy
    of each page that a fork or KSM made it share (seen on Linux 6.18): it is for pages that nobody can share meanwhile
    (`ksmbench.capture.comparing`).
    """

    def __init__(self) -> None:
        self._buffer = np.ones((PIECE_PAGES, PAGE_SIZE), np.uint8)

    def open(self, pid: int) -> int:
        """Open /proc/PID/mem; raises `ProcessGoneError` or `KsmbenchError`."""
        try:
            return os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            raise denied(pid) from None
        except OSError:
            raise ProcessGoneError from None

    def read(self, pid: int, pages: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return the bytes of the pages (int64 [n] ascending, n at most `PIECE_PAGES`) and which of them were read.

        Pages are read as a debugger does, also where the mapping forbids it (PROT_NONE, as over the guard pages of a
        stack). A page whose mapping went since its presence was seen is not read; one that only went itself reads as
        zeros (and is then the zero page there: nothing but a stop avoids that). The bytes, uint8 [n, page_size], are
        valid until the next call. Raises `ProcessGoneError` or `KsmbenchError`.
        """
        read = np.ones(len(pages), np.bool_)
        file = self.open(pid)
        try:
            starts = np.flatnonzero(np.diff(pages, prepend=-2) != 1).tolist()
            for start, end in zip(starts, [*starts[1:], len(pages)], strict=True):
                self._read_neighbours(file, pages, start, end, read)
        finally:
            os.close(file)
        return self._buffer[: len(pages)], read

    def _read_neighbours(
        self, file: int, pages: npt.NDArray[np.int64], at: int, end: int, read: npt.NDArray[np.bool_]
    ) -> None:
        # The elements from `at` to `end`, whose pages follow each other; what cannot be read is left out.
        while at < end:
            try:
                n = os.preadv(file, [self._buffer[at:end].data], int(pages[at]) * PAGE_SIZE) // PAGE_SIZE
            except OSError:
                read[at] = False
                n = 1
            if n == 0:
                raise ProcessGoneError  # the memory as a whole
            at += n
