"""The bytes of another process's pages, many at a time, and which of them differ from what was seen before."""

import ctypes
import errno
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.capture.procfs import PAGE_SIZE, ProcessGoneError, denied
from ksmbench.engine.jit import Integer, kernel
from ksmbench.trace.checksum import xxh64
from ksmbench.trace.ranking import ContentStore

PIECE_PAGES = 1024  # 4 MiB: large enough for full speed; no more ranges than one call may name
WORDS = PAGE_SIZE // 8
_BLOCK = 64  # words that are compared at a time

_libc = ctypes.CDLL(None, use_errno=True)
_process_vm_readv = _libc.process_vm_readv
_process_vm_readv.restype = ctypes.c_ssize_t
_process_vm_readv.argtypes = [ctypes.c_int, *(ctypes.c_void_p, ctypes.c_ulong) * 2, ctypes.c_ulong]


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
    """Reads pages of other processes into one buffer, which is touched once and used again."""

    def __init__(self) -> None:
        self._buffer = np.ones((PIECE_PAGES, PAGE_SIZE), np.uint8)
        self._remote = np.zeros((PIECE_PAGES, 2), np.uint64)
        self._local = np.zeros((1, 2), np.uint64)

    def read(self, pid: int, pages: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return the bytes of the pages (int64 [n] ascending, n at most `PIECE_PAGES`) and which of them were read.

        A page whose mapping went since its presence was seen is not read; one that only went itself reads as zeros
        (and is then the zero page there: nothing but a stop avoids that). The bytes, uint8 [n, page_size], are valid
        until the next call. Raises `ProcessGoneError` or `KsmbenchError`.
        """
        read = np.ones(len(pages), np.bool_)
        at = 0
        while at < len(pages):
            at += self._call(pid, pages, at)
            if at < len(pages):
                n = self._read_protected(pid, pages, at)
                read[at] = n > 0
                at += max(n, 1)
        return self._buffer[: len(pages)], read

    def _read_protected(self, pid: int, pages: npt.NDArray[np.int64], at: int) -> int:
        # As a debugger does, also where the mapping forbids it (PROT_NONE, as over the guard pages of a stack). Reads
        # neighbours from element `at` on; returns how many.
        wanted = pages[at:]
        n = int(np.argmin(np.diff(wanted, append=-1) == 1)) + 1
        try:
            file = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            raise denied(pid) from None
        except OSError:
            raise ProcessGoneError from None
        try:
            return os.preadv(file, [self._buffer[at : at + n].data], int(wanted[0]) * PAGE_SIZE) // PAGE_SIZE
        except OSError:
            return 0
        finally:
            os.close(file)

    def _call(self, pid: int, pages: npt.NDArray[np.int64], at: int) -> int:
        # Reads from element `at` on; returns how many pages came before the first that cannot be read.
        wanted = pages[at:]
        starts = np.flatnonzero(np.diff(wanted, prepend=wanted[0] - 2) != 1)
        lengths = np.diff(starts, append=len(wanted))
        remote = self._remote[: len(starts)]
        remote[:, 0] = wanted[starts] * PAGE_SIZE
        remote[:, 1] = lengths * PAGE_SIZE
        self._local[0] = self._buffer[at:].ctypes.data, len(wanted) * PAGE_SIZE
        done = _process_vm_readv(pid, self._local.ctypes.data, 1, remote.ctypes.data, len(remote), 0)
        if done >= 0:
            return int(done) // PAGE_SIZE
        number = ctypes.get_errno()
        if number == errno.EFAULT:
            return 0
        if number == errno.ESRCH:
            raise ProcessGoneError
        if number == errno.EPERM:
            raise denied(pid)
        raise OSError(number, os.strerror(number))
