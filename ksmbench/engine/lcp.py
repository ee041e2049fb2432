"""How many bytes a comparison of two contents reads, from ranks and neighbouring prefixes alone.

A comparison of contents a < b must read `1 + min(lcp[a+1 .. b])` bytes (`trace-format.md`). The minimum of a range is
answered in constant time: inside a block of 32 by the block's monotone stack kept as a bit mask per row, between blocks
by a table of minima over 1, 2, 4, ... whole blocks. Memory: 6 bytes per content and about one more for the table.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ksmbench.engine.jit import Integer, kernel

BLOCK_SHIFT = 5
BLOCK = 1 << BLOCK_SHIFT
BIG = 65535  # more than any prefix


class Prefixes(NamedTuple):
    """The answers' tables."""

    lcp: npt.NDArray[np.uint16]  # as in the trace, [n_contents]
    mask: npt.NDArray[np.uint32]  # [n_contents], bit j: row j of the block may be the minimum of j .. here
    blocks: npt.NDArray[np.uint16]  # [levels, n_blocks], minimum of blocks i .. i + 2**level - 1
    log2: npt.NDArray[np.uint8]  # [n_blocks + 1], floor of the binary logarithm


@kernel
def _fill_masks(lcp: npt.NDArray[np.uint16], mask: npt.NDArray[np.uint32]) -> None:
    for row in range(len(lcp)):
        start = row & ~(BLOCK - 1)
        stack = np.int64(0)
        if row > start:
            stack = np.int64(mask[row - 1])
        for place in range(row - start - 1, -1, -1):
            if (stack >> place) & 1:
                if lcp[start + place] < lcp[row]:
                    break
                stack &= ~(1 << place)
        mask[row] = np.uint32(stack | (1 << (row - start)))


def make_prefixes(lcp: npt.NDArray[np.uint16]) -> Prefixes:
    """Tables for `lcp`, uint16 [n_contents], as read from a trace."""
    n_blocks = (len(lcp) + BLOCK - 1) >> BLOCK_SHIFT
    mask = np.zeros(len(lcp), np.uint32)
    _fill_masks(lcp, mask)
    padded = np.full(n_blocks << BLOCK_SHIFT, BIG, np.uint16)
    padded[: len(lcp)] = lcp
    levels = [padded.reshape(n_blocks, BLOCK).min(axis=1)]
    step = 1
    while 2 * step <= n_blocks:
        level = levels[-1].copy()
        level[:-step] = np.minimum(levels[-1][:-step], levels[-1][step:])
        levels.append(level)
        step *= 2
    log2 = np.zeros(n_blocks + 1, np.uint8)
    for i in range(2, n_blocks + 1):
        log2[i] = log2[i >> 1] + 1
    return Prefixes(lcp, mask, np.ascontiguousarray(np.array(levels)), log2)


@kernel
def _trailing_zeros(word: Integer) -> Integer:
    # word > 0, below 2**32
    n = 0
    if word & 0xFFFF == 0:
        n += 16
        word >>= 16
    if word & 0xFF == 0:
        n += 8
        word >>= 8
    if word & 0xF == 0:
        n += 4
        word >>= 4
    if word & 0x3 == 0:
        n += 2
        word >>= 2
    if word & 0x1 == 0:
        n += 1
    return n


@kernel
def _in_block(prefixes: Prefixes, first: Integer, last: Integer) -> Integer:
    # Minimum of lcp[first .. last], both in one block: the lowest survivor of the stack at or after `first`.
    start = last & ~(BLOCK - 1)
    stack = (np.int64(prefixes.mask[last]) >> (first - start)) << (first - start)
    return np.int64(prefixes.lcp[start + _trailing_zeros(stack)])


@kernel
def compared_bytes(prefixes: Prefixes, a: Integer, b: Integer) -> Integer:
    """Bytes that tell the contents `a` and `b` (`a != b`) apart, counted from the start of the page."""
    first = min(a, b) + 1
    last = max(a, b)
    first_block = first >> BLOCK_SHIFT
    last_block = last >> BLOCK_SHIFT
    if first_block == last_block:
        return 1 + _in_block(prefixes, first, last)
    least: Integer = min(
        _in_block(prefixes, first, first | (BLOCK - 1)),
        _in_block(prefixes, last & ~(BLOCK - 1), last),
    )
    between = last_block - first_block - 1
    if between > 0 and least > 0:
        level = np.int64(prefixes.log2[between])
        least = min(
            least,
            np.int64(prefixes.blocks[level, first_block + 1]),
            np.int64(prefixes.blocks[level, last_block - (1 << level)]),
        )
    return 1 + least
