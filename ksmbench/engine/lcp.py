"""How many bytes a comparison of two contents reads, from ranks and neighbouring prefixes alone.

A comparison of contents a < b must read `1 + min(lcp[a+1 .. b])` bytes (`trace-format.md`). Most comparisons end within
the first bytes: for each content its neighbourhoods are kept, the ranks that share at least 1, 2, 3 and 4 bytes with
it, so that a whole descent in a tree is told from one cache line. Longer prefixes are the minimum of a range, answered
in constant time: inside a block of 32 by the block's monotone stack kept as a bit mask per row, between blocks by a
table of minima over 1, 2, 4, ... whole blocks. Memory: 38 bytes per content and about one more for the table.
"""

import numpy as np
import numpy.typing as npt

from ksmbench.engine.machine import LCP, LCP_BLOCKS, LCP_LOG2, LCP_MASK, LCP_NEAR, Machine, Vector, i32, u8, u16, u32
from ksmbench.engine.parts import part
from ksmbench.jit import Integer, kernel

BLOCK_SHIFT = 5
BLOCK = 1 << BLOCK_SHIFT
NEAR = 4  # prefix lengths whose neighbourhoods are kept
BIG = 65535  # more than any prefix
LINE = 64  # bytes that the processor reads at once; a comparison of more is a long one


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


@kernel
def _fill_near(lcp: npt.NDArray[np.uint16], near: npt.NDArray[np.int32]) -> None:
    n = len(lcp)
    for shared in range(1, NEAR + 1):
        place = 2 * (shared - 1)
        first = 0
        for row in range(n):
            if lcp[row] < shared:
                first = row
            near[row * 2 * NEAR + place] = first
        last = n - 1
        for row in range(n - 1, -1, -1):
            near[row * 2 * NEAR + place + 1] = last
            if lcp[row] < shared:
                last = row - 1


def add_prefixes(machine: Machine, lcp: npt.NDArray[np.uint16]) -> None:
    """Put the tables for `lcp`, uint16 [n_contents] as read from a trace, into `machine`."""
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
    near = np.zeros(len(lcp) * 2 * NEAR, np.int32)
    _fill_near(lcp, near)
    machine[LCP] = np.ascontiguousarray(lcp, np.uint16)
    machine[LCP_MASK] = mask
    machine[LCP_BLOCKS] = np.concatenate(levels)  # level by level: minimum of blocks i .. i + 2**level - 1
    machine[LCP_LOG2] = log2  # floor of the binary logarithm
    machine[LCP_NEAR] = near


@part
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


@part
def _in_block(m: Vector, first: Integer, last: Integer) -> Integer:
    # Minimum of lcp[first .. last], both in one block: the lowest survivor of the stack at or after `first`.
    start = last & ~(BLOCK - 1)
    stack = (u32(m, LCP_MASK)[last] >> (first - start)) << (first - start)
    return u16(m, LCP)[start + _trailing_zeros(stack)]


@part
def _far(m: Vector, a: Integer, b: Integer) -> Integer:
    # Contents that share at least NEAR bytes.
    first = min(a, b) + 1
    last = max(a, b)
    first_block = first >> BLOCK_SHIFT
    last_block = last >> BLOCK_SHIFT
    if first_block == last_block:
        return 1 + _in_block(m, first, last)
    least: Integer = min(
        _in_block(m, first, first | (BLOCK - 1)),
        _in_block(m, last & ~(BLOCK - 1), last),
    )
    between = last_block - first_block - 1
    if between > 0 and least > 0:
        log2, blocks = u8(m, LCP_LOG2), u16(m, LCP_BLOCKS)
        level = log2[between]
        row = level * (len(log2) - 1)
        least = min(
            least,
            blocks[row + first_block + 1],
            blocks[row + last_block - (1 << level)],
        )
    return 1 + least


@part
def compared_bytes(m: Vector, a: Integer, b: Integer) -> Integer:
    """Bytes that tell the contents `a` and `b` (`a != b`) apart, counted from the start of the page.

    Fastest for one `a` and many `b`.
    """
    near = i32(m, LCP_NEAR)
    place = a * 2 * NEAR
    if ((b - near[place + 6]) | (near[place + 7] - b)) >= 0:
        return _far(m, a, b)
    # Without branches, as which of the neighbourhoods `b` is in cannot be predicted: outside of one the sign is set,
    # and the shift gives -1.
    return (
        NEAR
        + (((b - near[place + 0]) | (near[place + 1] - b)) >> 63)
        + (((b - near[place + 2]) | (near[place + 3] - b)) >> 63)
        + (((b - near[place + 4]) | (near[place + 5] - b)) >> 63)
    )
