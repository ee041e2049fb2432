"""Reads pages of another process and finds those that changed, in compiled code that calls the kernel itself.

A quarter of a megabyte is read, and compared while it is in the processor's cache; between two such steps nothing else
happens. That is what makes it about as fast as reading alone is in larger pieces.
"""

import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from ksmbench.capture.procfs import PAGE_SIZE
from ksmbench.capture.reading import Reader, differing
from ksmbench.jit import Integer, kernel, numba_config
from ksmbench.trace.checksum import xxh64
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.spool import SpoolFullError

_STEP = 64  # pages
_KEPT = 512  # pages that changed, which are handed over together
_CALL = 4096  # pages of one call of compiled code: signals wait for its end
_WORDS = PAGE_SIZE // 8
_BLOCK = 64  # words that are compared at a time

_word, _size, _int = numba.types.uintp, numba.types.int64, numba.types.int32
# Symbols of the C library, which compiled code finds by their names, also when it comes from the cache.
_pread: Any = numba.types.ExternalFunction("pread", _size(_int, _word, _word, _size))
_process_vm_readv: Any = numba.types.ExternalFunction(
    "process_vm_readv", _size(_int, _word, _word, _word, _word, _word)
)


@kernel
def _stretch(pages: Any, at: Integer, end: Integer) -> Integer:
    # Where the pages that follow each other from `at` on end.
    stop = at + 1
    while stop < end and pages[stop] == pages[stop - 1] + 1:
        stop += 1
    return stop


@kernel
def _read_file(file: Integer, pages: Any, at: Integer, end: Integer, address: Integer) -> bool:
    # Pages at..end into memory at `address`, out of /proc/PID/mem.
    first = at
    while first < end:
        stop = _stretch(pages, first, end)
        wanted = (stop - first) * PAGE_SIZE
        target = np.uintp(address + (first - at) * PAGE_SIZE)
        if _pread(np.int32(file), target, np.uintp(wanted), np.int64(pages[first] * PAGE_SIZE)) != wanted:
            return False
        first = stop
    return True


@kernel
def _read_memory(pid: Integer, pages: Any, at: Integer, end: Integer, vectors: Any, addresses: Any) -> bool:
    # The same by process_vm_readv. Row 0 of `vectors` is ours, the others are theirs: addresses and bytes.
    n = 0
    first = at
    while first < end:
        stop = _stretch(pages, first, end)
        n += 1
        vectors[n, 0] = pages[first] * PAGE_SIZE
        vectors[n, 1] = (stop - first) * PAGE_SIZE
        first = stop
    wanted = (end - at) * PAGE_SIZE
    vectors[0, 0] = addresses[0]
    vectors[0, 1] = wanted
    ours, theirs = np.uintp(addresses[1]), np.uintp(addresses[1] + 16)
    return bool(_process_vm_readv(np.int32(pid), ours, np.uintp(1), theirs, np.uintp(n), np.uintp(0)) == wanted)


@kernel
def _differs(words: Any, at: Integer, stored: Any, known: Integer, digests: Any, by_digest: bool) -> bool:
    # Whether the page at word `at` is not content `known`.
    if known < 0:
        return True
    if by_digest:
        return bool(xxh64(words, at, _WORDS) != digests[known])
    # Blocks without a branch inside and unsigned indices: the compiler makes vector code of them.
    a, b = np.uint64(at), np.uint64(known * _WORDS)
    for block in range(0, _WORDS, _BLOCK):
        some = np.uint64(0)
        for k in range(block, block + _BLOCK):
            some |= words[a + np.uint64(k)] ^ stored[b + np.uint64(k)]
        if some != np.uint64(0):
            return True
    return False


@kernel
def _read_and_compare(
    whom: Any,
    pages: Any,
    previous: Any,
    words: Any,
    vectors: Any,
    addresses: Any,
    stored: Any,
    digests: Any,
    kept: Any,
    rows: Any,
    progress: Any,
) -> None:
    # From progress[0] on, to at most progress[1]: how far it came, how many changed, and whether reading failed, in
    # `progress`; the pages that changed in `kept`, their rows in `rows`. whom: process, file or -1, whether by digest.
    at, end, n = progress[0], progress[1], 0
    progress[3] = 0
    while at < end and n + _STEP <= _KEPT:
        stop = min(end, at + _STEP)
        if whom[1] >= 0:
            is_read = _read_file(whom[1], pages, at, stop, addresses[0])
        else:
            is_read = _read_memory(whom[0], pages, at, stop, vectors, addresses)
        if not is_read:
            progress[3] = 1
            break
        for page in range(at, stop):
            start = (page - at) * _WORDS
            if _differs(words, start, stored, previous[page], digests, whom[2] != 0):
                for k in range(_WORDS):
                    kept[n * _WORDS + k] = words[start + k]
                rows[n] = page
                n += 1
        at = stop
    progress[0] = at
    progress[2] = n


class Comparer:
    """Reads pages, says which content each has, and hands new ones to the store."""

    def __init__(self, reader: Reader, store: ContentStore) -> None:
        self._reader = reader
        self._store = store
        self._words = np.ones(_STEP * _WORDS, np.uint64)
        self._kept = np.ones((_KEPT, PAGE_SIZE), np.uint8)
        self._rows = np.zeros(_KEPT, np.int64)
        self._vectors = np.zeros((_STEP + 1, 2), np.int64)
        self._addresses = np.array([self._words.ctypes.data, self._vectors.ctypes.data])
        self._progress = np.zeros(4, np.int64)

    def compile(self) -> None:
        """Compile what reads, by reading a page of our own."""
        ours = np.array([self._words.ctypes.data // PAGE_SIZE + 1])
        self.compare(os.getpid(), ours, np.full(1, -1), unshared=False, in_time=lambda: None)

    def compare(
        self,
        pid: int,
        pages: npt.NDArray[np.int64],
        content: npt.NDArray[np.int64],
        *,
        unshared: bool,
        in_time: Callable[[], object],
    ) -> npt.NDArray[np.bool_]:
        """Read the pages (int64 [n] ascending) and return which of them were read; raises as `Reader.read`.

        `content` (int64 [n]) says which content of the store each had, -1 for none, and gets the one that it has.
        `unshared` says that neither a fork nor KSM can share them meanwhile, see `Reader`. `in_time` is called often.
        """
        there = np.ones(len(pages), np.bool_)
        file = -1 if unshared else self._reader.open(pid)
        try:
            at = 0
            while at < len(pages) and not self._store.is_full:
                stop, failed = self._step(pid, file, pages, content, there, at)
                in_time()
                at = stop
                if failed:
                    at = self._step_by_pages(pid, pages, content, there, at)
            there[at:] = False
        finally:
            if file >= 0:
                os.close(file)
        return there

    def _step(
        self,
        pid: int,
        file: int,
        pages: npt.NDArray[np.int64],
        content: npt.NDArray[np.int64],
        there: npt.NDArray[np.bool_],
        at: int,
    ) -> tuple[int, bool]:
        # As far as one call goes; returns how far that is, and whether the rest must be read in another way.
        if numba_config.DISABLE_JIT:
            return at, True
        self._progress[:] = at, min(len(pages), at + _CALL), 0, 0
        _read_and_compare(
            np.array([pid, file, self._store.on_disk]),
            pages,
            content,
            self._words,
            self._vectors,
            self._addresses,
            self._store.words,
            self._store.digests,
            self._kept.reshape(-1).view(np.uint64),
            self._rows,
            self._progress,
        )
        stop, _, n, failed = self._progress.tolist()
        if n:
            self._add(self._kept[:n], self._rows[:n], content, there)
        return stop, bool(failed)

    def _add(
        self,
        data: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.int64],
        content: npt.NDArray[np.int64],
        there: npt.NDArray[np.bool_],
    ) -> None:
        try:
            content[rows] = self._store.add(data)
        except SpoolFullError:  # ends the capture after this look
            there[rows] = False

    def _step_by_pages(
        self,
        pid: int,
        pages: npt.NDArray[np.int64],
        content: npt.NDArray[np.int64],
        there: npt.NDArray[np.bool_],
        at: int,
    ) -> int:
        # Where not everything can be read; says what.
        piece = slice(at, at + _STEP)
        data, was_read = self._reader.read(pid, pages[piece])
        there[piece] = was_read
        changed = np.flatnonzero(differing(data, self._store, content[piece]) & was_read)
        if len(changed):
            self._add(data[changed], at + changed, content, there)
        return min(len(pages), at + _STEP)
