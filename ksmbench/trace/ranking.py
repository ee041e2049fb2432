"""Distinct page contents out of a stream of pages, their rank in byte order, common prefixes and checksums.

A capture hands over pages as it reads them and gets provisional numbers, in order of first appearance. `rank` says at
any time which rank each has among those so far: the ids that a trace holds. Two pages are one content only where
their bytes are equal; a hash merely finds the one page to compare with.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.jit import Integer, kernel
from ksmbench.trace.byteorder import merge_orders, sort_pages
from ksmbench.trace.checksum import as_words, xxh64
from ksmbench.trace.columns import Contents
from ksmbench.trace.spool import Spool, SpoolFullError

_EMPTY = -1
_PIECE_PAGES = 1 << 14  # pages of one kernel call, so that what it copies is still cached
_FIRST_SLOTS = 1 << 12


@dataclass(frozen=True)
class Ranking:
    """`rank` int64 [n]: the final id of each provisional one; `contents`: the table of a trace, in that order."""

    rank: npt.NDArray[np.int64]
    contents: Contents


@kernel
def _is_zero(words: Any, start: Integer, n_words: Integer) -> bool:
    for i in range(start, start + n_words, 8):
        some = words[i] | words[i + 1] | words[i + 2] | words[i + 3]
        if some | words[i + 4] | words[i + 5] | words[i + 6] | words[i + 7]:
            return False
    return True


@kernel
def _same(a: Any, at_a: Integer, b: Any, at_b: Integer, n_words: Integer) -> bool:
    for i in range(n_words):
        if a[at_a + i] != b[at_b + i]:
            return False
    return True


@kernel
def _find(
    words: Any, n_words: Integer, stored: Any, digests: Any, slots: Any, n_stored: Integer, ids: Any, fresh: Any
) -> Integer:
    # Numbers each page; fresh[k] is the page that is new content n_stored + k. Returns how many are new.
    mask = len(slots) - 1
    n_fresh = 0
    for page in range(len(ids)):
        start = page * n_words
        if _is_zero(words, start, n_words):
            ids[page] = 0
            continue
        digest = xxh64(words, start, n_words)
        slot = np.int64(digest >> np.uint64(32)) & mask
        while True:
            known = np.int64(slots[slot])
            if known == _EMPTY:
                known = n_stored + n_fresh
                slots[slot] = known
                digests[known] = digest
                fresh[n_fresh] = page
                n_fresh += 1
                break
            if digests[known] == digest:
                if known < n_stored:
                    if _same(words, start, stored, known * n_words, n_words):
                        break
                elif _same(words, start, words, fresh[known - n_stored] * n_words, n_words):
                    break
            slot = (slot + 1) & mask
        ids[page] = known
    return n_fresh


@kernel
def _fill_slots(digests: Any, n: Integer, slots: Any) -> None:
    mask = len(slots) - 1
    for known in range(1, n):  # zero pages are never looked up
        slot = np.int64(digests[known] >> np.uint64(32)) & mask
        while slots[slot] != _EMPTY:
            slot = (slot + 1) & mask
        slots[slot] = known


class ContentStore:
    """The distinct contents so far; id 0 is the all-zero page from the start.

    Up to `memory_bytes` of contents are held in memory; beyond, all of them are in one nameless file of mode 0600 in
    `folder` (default: TMPDIR or /var/tmp), which is gone when the store is closed, dropped, or its process dies. About
    40 bytes of memory per content stay. Not safe for use by two threads at once.
    """

    def __init__(
        self,
        page_size: int = 4096,
        *,
        memory_bytes: int = 1 << 30,
        folder: Path | None = None,
        max_file_bytes: int | None = None,
    ) -> None:
        if page_size < 512 or page_size & (page_size - 1):
            raise ValueError(f"page_size is {page_size}; it must be a power of two of at least 512")
        self.page_size = page_size
        self._n_words = page_size // 8
        self._spool = Spool(page_size, memory_bytes, folder, max_file_bytes)
        self.is_full = False  # something could not be added for `max_file_bytes`
        self._digests = np.zeros(_FIRST_SLOTS, np.uint64)
        self._slots = np.full(_FIRST_SLOTS, _EMPTY, np.int64)
        zero = np.zeros((1, page_size), np.uint8)
        self._spool.append(zero)
        self._digests[0] = xxh64(as_words(zero), 0, self._n_words)
        self._order = (np.zeros(1, np.int64), np.zeros(1, np.uint16))

    def __len__(self) -> int:
        return self._spool.n_pages

    def __enter__(self) -> "ContentStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and disk back; nothing may be added afterwards."""
        self._spool.close()

    def add(self, pages: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the provisional id of each page of uint8 [n, page_size]: equal ids exactly for equal bytes.

        Raises `KsmbenchError` where the spool's disk is full; the store cannot be used after that. Raises
        `SpoolFullError` before it may have more than `max_file_bytes` in its file; the store stays as it is then.
        """
        if pages.ndim != 2 or pages.shape[1] != self.page_size or pages.dtype != np.uint8:
            raise ValueError(f"pages are {pages.dtype} {pages.shape}; they must be uint8 [n, {self.page_size}]")
        ids = np.empty(len(pages), np.int64)
        for start in range(0, len(pages), _PIECE_PAGES):
            self._add(pages[start : start + _PIECE_PAGES], ids[start : start + _PIECE_PAGES])
        return ids

    def _add(self, pages: npt.NDArray[np.uint8], ids: npt.NDArray[np.int64]) -> None:
        stored = len(self)
        try:
            self._spool.check_room(len(pages))
        except SpoolFullError:
            self.is_full = True
            raise
        self._reserve(stored + len(pages))
        fresh = np.empty(len(pages), np.int64)
        words = as_words(pages)
        n = _find(words, self._n_words, self._spool.words, self._digests, self._slots, stored, ids, fresh)
        if n == len(pages):
            self._spool.append(pages)
        elif n:
            self._spool.append(pages[fresh[:n]])

    def _reserve(self, n: int) -> None:
        if n > len(self._digests):
            self._digests = np.concatenate([self._digests, np.zeros(max(n, len(self._digests)), np.uint64)])
        if 2 * n > len(self._slots):
            self._slots = np.full(1 << (4 * n - 1).bit_length(), _EMPTY, np.int64)
            _fill_slots(self._digests, len(self), self._slots)

    def rank(self, *, private: bool = True) -> Ranking:
        """Rank the contents so far in memcmp order over whole pages.

        May be called again after more `add`: only what is new is sorted, and merged with what was ranked before.
        With `private` the checksums are labels (equal exactly where KSM's checksums are equal) that say nothing else.
        """
        ranked = len(self._order[0])
        words = self._spool.words
        if ranked < len(self):
            news = sort_pages(words, self._n_words, np.arange(ranked, len(self)))
            self._order = merge_orders(words, self._n_words, self._order, news)
        order, lcp = self._order
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        checksum = self._digests[order].astype(np.uint32)  # the low half
        if private:
            # By first appearance in rank order: a function of ranks and equalities, which the trace shows anyway.
            _, first, inverse = np.unique(checksum, return_index=True, return_inverse=True)
            label = np.empty(len(first), np.uint32)
            label[np.argsort(first)] = np.arange(len(first), dtype=np.uint32)
            checksum = label[inverse]
        return Ranking(rank, Contents(lcp.copy(), checksum))

    @property
    def words(self) -> npt.NDArray[np.uint64]:
        """Every content so far by provisional id, flat and read-only, uint64; fetch it again after each `add`."""
        return self._spool.words

    @property
    def on_disk(self) -> bool:
        """Whether the contents did not fit in memory."""
        return self._spool.descriptor >= 0

    @property
    def digests(self) -> npt.NDArray[np.uint64]:
        """XXH64, seed 0, of every content so far by provisional id."""
        return self._digests[: len(self)]

    def read(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the bytes of the contents with these provisional ids, uint8 [n, page_size]."""
        pages = self._spool.words.view(np.uint8).reshape(-1, self.page_size)
        result: npt.NDArray[np.uint8] = pages[ids]
        return result
