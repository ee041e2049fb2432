"""Which pages of another process are there, without touching one: PAGEMAP_SCAN, or pagemap where that is missing.

Absent, mapping the kernel's zero page, swapped out and holding a frame are four different states; reading an absent
page would make it one of the second kind, so nothing is read before it is known to be there. A file's pages, which a
private mapping has until it writes, count as absent.
"""

import errno
import fcntl
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ksmbench.capture.procfs import PAGE_SIZE, ProcessGoneError, denied
from ksmbench.errors import KsmbenchError

PRESENT, ZERO, SWAPPED = 1, 2, 3
HUGE_PAGES = 512

# linux/fs.h
_PAGEMAP_SCAN = (3 << 30) | (96 << 16) | (ord("f") << 8) | 16
_IS_FILE, _IS_PRESENT, _IS_SWAPPED, _IS_PFNZERO, _IS_HUGE = 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6
_REGIONS = 1 << 14
# Documentation/admin-guide/mm/pagemap.rst
_ENTRY_PRESENT, _ENTRY_SWAPPED, _PFN_MASK = np.uint64(1 << 63), np.uint64(1 << 62), np.uint64((1 << 55) - 1)
_ENTRY_FILE, _ENTRY_EXCLUSIVE = np.uint64(1 << 61), np.uint64(1 << 56)
_KPF_KSM, _KPF_ZERO_PAGE = 1 << 21, 1 << 24
_ENTRIES = 1 << 18  # of pagemap, read at a time
_GAP = 64  # entries that nobody asked for and are read rather than begun anew behind


class Pages(NamedTuple):
    """The pages that are not absent, by address; one element per page."""

    page: npt.NDArray[np.int64]
    state: npt.NDArray[np.uint8]  # PRESENT, ZERO or SWAPPED
    huge: npt.NDArray[np.bool_]  # part of a block that one entry of the page table maps
    pfn: npt.NDArray[np.int64]  # number of the frame where there is one and the kernel tells it, else 0


def only(pages: Pages, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Pages:
    """Return the pages for which `which` (bool, one element per page) holds, or those at these rows (int64)."""
    return Pages(pages.page[which], pages.state[which], pages.huge[which], pages.pfn[which])


def join(pieces: Sequence[Pages]) -> Pages:
    """Return the pages of all `pieces`, of which there is at least one, in their order."""
    return Pages(
        np.concatenate([piece.page for piece in pieces]),
        np.concatenate([piece.state for piece in pieces]),
        np.concatenate([piece.huge for piece in pieces]),
        np.concatenate([piece.pfn for piece in pieces]),
    )


def no_pages() -> Pages:
    """Return no pages."""
    return Pages(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.bool_), np.zeros(0, np.int64))


def _expand(start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # Every page number of the ranges.
    lengths = end - start
    offsets = np.repeat(start - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    result: npt.NDArray[np.int64] = np.arange(int(lengths.sum())) + offsets
    return result


def _entries(file: int, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    # The eight bytes at each of the ascending numbers of a file of such entries, 0 beyond its end.
    result = np.zeros(len(numbers), np.uint64)
    if not len(numbers):
        return result
    begins = np.flatnonzero((np.diff(numbers, prepend=numbers[0] - _GAP - 1) > _GAP) | (numbers % _ENTRIES == 0))
    for begin, end in zip(begins, [*begins[1:], len(numbers)], strict=True):
        first, last = int(numbers[begin]), int(numbers[end - 1])
        read = np.frombuffer(os.pread(file, 8 * (last + 1 - first), 8 * first), np.uint64)
        if len(read) > last - first:
            result[begin:end] = read[numbers[begin:end] - first]
    return result


class PageMap:
    """The page table of one process, as its pagemap file shows it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._regions = np.zeros((_REGIONS, 3), np.uint64)
        try:
            self._file = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            raise denied(pid) from None
        except OSError:
            raise ProcessGoneError from None
        self._flags = -1  # /proc/kpageflags, for who may read it
        try:
            self.has_scan = self._probe()
        except BaseException:
            self.close()
            raise
        try:
            self._flags = os.open("/proc/kpageflags", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass

    @property
    def sees_frames(self) -> bool:
        """Whether frames' own flags can be read, which tells the huge zero page from a frame full of zeros."""
        return self._flags >= 0

    @property
    def sees_numbers(self) -> bool:
        """Whether the kernel tells which frame a page maps."""
        page = np.array([self._regions.ctypes.data // PAGE_SIZE])  # one of ours that is there
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            return bool(_entries(file.fileno(), page)[0] & _PFN_MASK)

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        if self._flags >= 0:
            os.close(self._flags)

    def _ioctl(self, start: int, end: int, left_out: int = _IS_FILE) -> tuple[int, int]:
        # Returns how many regions were found and the address at which the walk ended.
        argument = np.array(
            [96, 0, start, end, 0, self._regions.ctypes.data, _REGIONS, 0, left_out, left_out]
            + [_IS_PRESENT | _IS_SWAPPED, _IS_PRESENT | _IS_SWAPPED | _IS_PFNZERO | _IS_HUGE],
            np.uint64,
        )
        found = fcntl.ioctl(self._file, _PAGEMAP_SCAN, argument.data, True)
        return found, int(argument[4])

    def _probe(self) -> bool:
        try:
            self._ioctl(0, 0)
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EPERM):
                raise (ProcessGoneError() if error.errno == errno.ESRCH else denied(self.pid)) from None
            return False
        return True

    def frames(self, pages: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of the frame that each page (int64 [n] ascending) maps right now.

        0 where there is none, where the process is gone, or where the kernel hides it from us (CAP_SYS_ADMIN).
        """
        try:
            entries = _entries(self._file, pages)
        except OSError:
            return np.zeros(len(pages), np.int64)
        return np.where(entries & _ENTRY_PRESENT, entries & _PFN_MASK, 0).astype(np.int64)

    def exclusive(self, pages: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of the pages (int64 [n] ascending) map a frame that no other page maps right now."""
        try:
            entries = _entries(self._file, pages)
        except OSError:
            return np.zeros(len(pages), np.bool_)
        result: npt.NDArray[np.bool_] = (entries & _ENTRY_EXCLUSIVE) != 0
        return result

    def merged(self, pfn: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of the frames (int64 [n], none of them 0) are KSM's; none where their flags are hidden."""
        if self._flags < 0:
            return np.zeros(len(pfn), np.bool_)
        numbers, inverse = np.unique(pfn, return_inverse=True)
        result: npt.NDArray[np.bool_] = (_entries(self._flags, numbers) & np.uint64(_KPF_KSM) != 0)[inverse]
        return result

    def look(self, start: int, end: int, *, files: bool = False) -> Pages:
        """Return which of the pages [start, end) are there; raises `ProcessGoneError`.

        Pages of files, which those of shared memory are too, count only with `files`.
        """
        try:
            if not self.has_scan:
                return self._read(start, end, files)
            return self._with_zero_blocks(self._scan(start, end, 0 if files else _IS_FILE))
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise ProcessGoneError from None
            raise KsmbenchError(f"the page table of process {self.pid} cannot be read ({error.strerror})") from None

    def _scan(self, start: int, end: int, left_out: int) -> Pages:
        pieces = []
        at, stop = start * PAGE_SIZE, end * PAGE_SIZE
        while at < stop:
            found, at = self._ioctl(at, stop, left_out)
            pieces.append(self._regions[:found].astype(np.int64))
            if found:  # with all regions filled the address can lie 2 MiB before the last one's end (seen on 6.18)
                at = max(at, int(pieces[-1][-1, 1]))
        regions = np.concatenate(pieces) if pieces else np.zeros((0, 3), np.int64)
        first, last = regions[:, 0] // PAGE_SIZE, regions[:, 1] // PAGE_SIZE
        category = np.repeat(regions[:, 2], last - first)
        state = np.where(category & _IS_PFNZERO, ZERO, np.where(category & _IS_PRESENT, PRESENT, SWAPPED))
        pages = _expand(first, last)
        pfn = self.frames(pages)
        pfn[state != PRESENT] = 0
        return Pages(pages, state.astype(np.uint8), (category & _IS_HUGE) != 0, pfn)

    def _with_zero_blocks(self, pages: Pages) -> Pages:
        # PAGEMAP_SCAN does not tell the huge zero page from a huge frame.
        heads = np.flatnonzero(pages.huge & (pages.page % HUGE_PAGES == 0) & (pages.state == PRESENT))
        for head in heads[self._are_zero(pages.pfn[heads])]:
            pages.state[head : head + HUGE_PAGES] = ZERO
            pages.huge[head : head + HUGE_PAGES] = False
            pages.pfn[head : head + HUGE_PAGES] = 0
        return pages

    def _are_zero(self, pfn: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        # Which of the frames are the zero page or the huge zero page; none where they are hidden from us (0).
        if self._flags < 0 or not pfn.any():
            return np.zeros(len(pfn), np.bool_)
        numbers, inverse = np.unique(pfn, return_inverse=True)
        zero = (_entries(self._flags, numbers) & np.uint64(_KPF_ZERO_PAGE) != 0) & (numbers != 0)
        result: npt.NDArray[np.bool_] = zero[inverse]
        return result

    def _read(self, start: int, end: int, files: bool) -> Pages:
        pieces = [no_pages()]
        for at in range(start, end, _ENTRIES):
            entries = np.frombuffer(os.pread(self._file, 8 * min(_ENTRIES, end - at), 8 * at), np.uint64)
            is_there = entries & (_ENTRY_PRESENT | _ENTRY_SWAPPED) != 0
            there = np.flatnonzero(is_there if files else is_there & (entries & _ENTRY_FILE == 0))
            entries = entries[there]
            state = np.where(entries & _ENTRY_PRESENT, PRESENT, SWAPPED).astype(np.uint8)
            present = state == PRESENT
            pfn = (entries[present] & _PFN_MASK).astype(np.int64)
            state[np.flatnonzero(present)[self._are_zero(pfn)]] = ZERO
            pfn = np.where(state == PRESENT, entries & _PFN_MASK, 0).astype(np.int64)
            pieces.append(Pages(there + at, state, np.zeros(len(there), np.bool_), pfn))
        return join(pieces)
