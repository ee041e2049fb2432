"""The order that memcmp gives to pages, and the bytes that neighbours have in common, in compiled code.

Pages are flat uint64 words (little-endian, as in memory); page i begins at word i * n_words. Words are compared
byte-swapped, which is the order of their bytes. All pages of one call are distinct.

Cost: `sort_pages` reads each page about as far as it agrees with a neighbour (a radix sort from the front by whole
words, that skips over what a group has in common); `merge_orders` reads only what no known prefix decides.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ksmbench.jit import Integer, kernel

_8, _16, _32 = np.uint64(8), np.uint64(16), np.uint64(32)
_ODD_BYTES = np.uint64(0x00FF00FF00FF00FF)
_ODD_PAIRS = np.uint64(0x0000FFFF0000FFFF)
_TOP = np.uint64(0xFF00000000000000)
_ZERO = np.uint64(0)
_SMALL = 12  # up to here insertion beats merging


@kernel
def swapped(word: Any) -> Any:
    """Reverse the bytes of a uint64."""
    word = ((word >> _8) & _ODD_BYTES) | ((word & _ODD_BYTES) << _8)
    word = ((word >> _16) & _ODD_PAIRS) | ((word & _ODD_PAIRS) << _16)
    return (word >> _32) | (word << _32)


@kernel
def _common(a: Any, b: Any) -> Integer:
    # Leading bytes that two different swapped words share.
    differing = a ^ b
    n = 0
    while not differing & _TOP:
        differing = differing << _8
        n += 1
    return n


@kernel
def _first_difference(words: Any, n_words: Integer, a: Integer, b: Integer, start: Integer, stop: Integer) -> Integer:
    # The first word from `start` on in which pages a and b differ, `stop` where there is none before it.
    here, there = a * n_words, b * n_words
    for w in range(start, stop):
        if words[here + w] != words[there + w]:
            return w
    return stop


class _Scratch(NamedTuple):
    # Arrays of the pages to sort; kernels allocate nothing.
    keys: npt.NDArray[np.uint64]  # [n] the word that splits the group
    other_keys: npt.NDArray[np.uint64]
    other_ids: npt.NDArray[np.int64]
    stack: npt.NDArray[np.int64]  # [n / 2 + 1, 3] groups that wait: disjoint, and of at least two pages


@kernel
def _insert(keys: Any, ids: Any, low: Integer, high: Integer) -> None:
    for i in range(low + 1, high):
        key, page = keys[i], ids[i]
        k = i - 1
        while k >= low and keys[k] > key:
            keys[k + 1] = keys[k]
            ids[k + 1] = ids[k]
            k -= 1
        keys[k + 1] = key
        ids[k + 1] = page


@kernel
def _join(keys: Any, ids: Any, to_keys: Any, to_ids: Any, low: Integer, middle: Integer, high: Integer) -> None:
    # Merges two sorted neighbours into the other pair of arrays.
    i, k = low, middle
    for place in range(low, high):
        if k == high or (i < middle and keys[i] <= keys[k]):
            to_keys[place] = keys[i]
            to_ids[place] = ids[i]
            i += 1
        else:
            to_keys[place] = keys[k]
            to_ids[place] = ids[k]
            k += 1


@kernel
def _merge_sort(keys: Any, ids: Any, other_keys: Any, other_ids: Any, low: Integer, high: Integer) -> None:
    for start in range(low, high, _SMALL):
        _insert(keys, ids, start, min(start + _SMALL, high))
    width = _SMALL
    while width < high - low:
        for start in range(low, high, 2 * width):
            middle, stop = min(start + width, high), min(start + 2 * width, high)
            _join(keys, ids, other_keys, other_ids, start, middle, stop)
        for i in range(low, high):
            keys[i] = other_keys[i]
            ids[i] = other_ids[i]
        width *= 2


@kernel
def _arrange(keys: Any, ids: Any, other_keys: Any, other_ids: Any, low: Integer, high: Integer) -> None:
    # Sorts keys[low:high] and ids with them. Often most keys are one (zeros): those are set aside in one pass, so that
    # a group that loses a page per word stays cheap; the rest is merged, so that no input is worse than n log n.
    if high - low <= _SMALL:
        _insert(keys, ids, low, high)
        return
    a, b, c = keys[low], keys[(low + high) >> 1], keys[high - 1]
    pivot = max(min(a, b), min(max(a, b), c))
    n_less, n_equal = 0, 0
    for i in range(low, high):
        n_less += keys[i] < pivot
        n_equal += keys[i] == pivot
    less, equal, greater = low, low + n_less, low + n_less + n_equal
    for i in range(low, high):
        if keys[i] < pivot:
            place = less
            less += 1
        elif keys[i] == pivot:
            place = equal
            equal += 1
        else:
            place = greater
            greater += 1
        other_keys[place] = keys[i]
        other_ids[place] = ids[i]
    for i in range(low, high):
        keys[i] = other_keys[i]
        ids[i] = other_ids[i]
    _merge_sort(keys, ids, other_keys, other_ids, low, less)
    _merge_sort(keys, ids, other_keys, other_ids, equal, high)


@kernel
def _split(
    words: Any, n_words: Integer, ids: Any, lcp: Any, scratch: _Scratch, low: Integer, high: Integer, w: Integer
) -> Integer:
    # Sorts ids[low:high], which agree before word `w`, by the first word in which any differs, and returns that word.
    first = ids[low]
    stop = n_words
    for i in range(low + 1, high):
        stop = _first_difference(words, n_words, first, ids[i], w, stop)
    keys = scratch.keys
    for i in range(low, high):
        keys[i] = swapped(words[ids[i] * n_words + stop])
    _arrange(keys, ids, scratch.other_keys, scratch.other_ids, low, high)
    for i in range(low + 1, high):
        if keys[i] != keys[i - 1]:
            lcp[i] = stop * 8 + _common(keys[i], keys[i - 1])
    return stop


@kernel
def _sort(words: Any, n_words: Integer, ids: Any, lcp: Any, scratch: _Scratch) -> None:
    keys, stack = scratch.keys, scratch.stack
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, len(ids), 0
    depth = 1
    while depth:
        depth -= 1
        low, high, w = stack[depth, 0], stack[depth, 1], stack[depth, 2]
        w = _split(words, n_words, ids, lcp, scratch, low, high, w) + 1
        begin = low
        for i in range(low + 1, high + 1):
            if i == high or keys[i] != keys[i - 1]:
                if i - begin > 1:
                    stack[depth, 0], stack[depth, 1], stack[depth, 2] = begin, i, w
                    depth += 1
                begin = i


def sort_pages(
    words: npt.NDArray[np.uint64], n_words: int, ids: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """Return the pages `ids` in byte order, and what each has in common with the one before (uint16, first 0)."""
    order = ids.copy()
    lcp = np.zeros(len(ids), np.uint16)
    if len(ids) > 1:
        n = len(ids)
        scratch = _Scratch(
            np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.int64), np.empty((n // 2 + 1, 3), np.int64)
        )
        _sort(words, n_words, order, lcp, scratch)
    return order, lcp


@kernel
def _agreement(words: Any, n_words: Integer, a: Integer, b: Integer, known: Integer) -> Integer:
    # Bytes that pages a and b have in common, at least `known`; negative - 1 where a is the greater.
    w = _first_difference(words, n_words, a, b, known >> 3, n_words)
    left, right = swapped(words[a * n_words + w]), swapped(words[b * n_words + w])
    n = w * 8 + _common(left, right)
    return n if left < right else -n - 1


@kernel
def _merge(words: Any, n_words: Integer, a: Any, lcp_a: Any, b: Any, lcp_b: Any, out: Any, lcp: Any) -> None:
    # What agrees with the last page put out in more bytes comes first; only equal agreement needs the bytes.
    i, k = 0, 0
    with_a, with_b = 0, 0
    for place in range(len(out)):
        take_a = k == len(b)
        if i < len(a) and k < len(b):
            if with_a == with_b:
                n = _agreement(words, n_words, a[i], b[k], with_a)
                take_a = n >= 0
                lcp[place] = with_a
                if take_a:
                    with_b = n
                else:
                    with_a = -n - 1
            else:
                take_a = with_a > with_b
                lcp[place] = max(with_a, with_b)
        else:
            lcp[place] = with_a if take_a else with_b
        if take_a:
            out[place] = a[i]
            i += 1
            with_a = int(lcp_a[i]) if i < len(a) else 0
        else:
            out[place] = b[k]
            k += 1
            with_b = int(lcp_b[k]) if k < len(b) else 0


def merge_orders(
    words: npt.NDArray[np.uint64],
    n_words: int,
    a: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]],
    b: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """Merge two results of `sort_pages` (or of this) over different pages into one of the same form."""
    if not len(a[0]) or not len(b[0]):
        return b if len(b[0]) else a
    order = np.empty(len(a[0]) + len(b[0]), np.int64)
    lcp = np.empty(len(order), np.uint16)
    _merge(words, n_words, *a, *b, order, lcp)
    return order, lcp
