"""Where pages that equal no other first differ from the page that is nearest to them.

Of all contents in the order of memcmp, none has more bytes in common with a content, from the start, than its two
neighbours there. Where the bytes are at hand, the neighbours in the order of the pages read backwards are asked too,
which finds the page that is equal but for its head; the nearest is then the one that differs in fewest bytes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.jit import Integer, kernel
from ksmbench.trace.byteorder import sort_pages, swapped

_BYTE = np.uint64(0xFF)
_8, _ZERO = np.uint64(8), np.uint64(0)

Numbers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Differences:
    """Of each page asked for: `offset` of its first byte that differs from the nearest other content (int64 [n]).

    `n_bytes` (int64 [n]) is how many bytes of the two differ in all, where the contents are at hand, else None.
    """

    offset: Numbers
    n_bytes: Numbers | None


@kernel
def _compare(words: Any, n_words: Integer, one: Any, other: Any, n_bytes: Any, offset: Any) -> None:
    # Puts down where content other[i] is nearer to one[i] than what is known so far.
    for i in range(len(one)):
        a, b, n, first = one[i] * n_words, other[i] * n_words, 0, -1
        for w in range(n_words):
            differing = words[a + w] ^ words[b + w]
            at = 8 * w
            while differing != _ZERO:
                if differing & _BYTE:
                    n += 1
                    if first < 0:
                        first = at
                differing = differing >> _8
                at += 1
            if n >= n_bytes[i]:
                break
        if n < n_bytes[i]:
            n_bytes[i] = n
            offset[i] = first


@kernel
def _turn(words: Any, n_words: Integer, ids: Any, turned: Any) -> None:
    for i in range(len(ids)):
        for w in range(n_words):
            turned[(i + 1) * n_words - 1 - w] = swapped(words[ids[i] * n_words + w])


def _backwards(words: Words, n_words: int, ids: Numbers) -> Numbers:
    # The order, as rows of `ids`, that the contents have when they are read from their last byte.
    turned = np.empty(len(ids) * n_words, np.uint64)
    _turn(words, n_words, ids, turned)
    turned.setflags(write=False)  # as the contents are: numba types read-only arrays apart
    return sort_pages(turned, n_words, np.arange(len(ids)))[0]


def _nearest(words: Words, n_words: int, ids: Numbers, wanted: Numbers) -> Differences:
    # `ids` are contents of `words` in byte order, `wanted` rows of them.
    n_bytes = np.full(len(wanted), 8 * n_words + 1)
    offset = np.zeros(len(wanted), np.int64)
    for order in (np.arange(len(ids)), _backwards(words, n_words, ids)):
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        at = place[wanted]
        for side in (-1, 1):
            beside = np.clip(at + side, 0, len(order) - 1)
            beside = np.where(beside == at, at - side, beside)  # at the ends the other side, once more
            _compare(words, n_words, ids[wanted], ids[order[beside]], n_bytes, offset)
    return Differences(offset, n_bytes)


def first_differences(
    wanted: Numbers,
    there: Numbers,
    lcp: npt.NDArray[np.uint16],
    page_size: int,
    words: Words | None = None,
    stored: Numbers | None = None,
) -> Differences:
    """Compare the contents `wanted` with their nearest among `there` (ranks, ascending and distinct).

    `wanted` are ranks out of `there`, in any order; `stored` says which content of `words` has each rank. Where
    nothing else is there, nothing is compared.
    """
    if len(there) < 2:
        none = np.zeros(0, np.int64)
        return Differences(none, none if words is not None else None)
    at = np.searchsorted(there, wanted)
    if words is not None and stored is not None:
        return _nearest(words, page_size // 8, stored[there], at)
    between = np.minimum.reduceat(lcp[: int(there[-1]) + 1], there[:-1] + 1).astype(np.int64)
    before, after = np.concatenate([[-1], between]), np.concatenate([between, [-1]])
    return Differences(np.maximum(before[at], after[at]), None)


def ranges_of(page_size: int) -> list[tuple[int, int]]:
    """Return the ranges of offsets [first, last] that a summary tells apart: finer at the ends of a page."""
    half = page_size // 2
    edges = sorted({0, 8, 64, min(512, half), half, page_size - 64, page_size - 8, page_size})
    return [(first, stop - 1) for first, stop in zip(edges, edges[1:], strict=False)]
