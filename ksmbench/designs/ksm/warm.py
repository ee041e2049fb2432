"""Reading ahead in trees that do not fit the caches: no effect on any result.

A descent waits for memory at every step, as the next node is known only when this one has arrived. The next LANES
pages' descents are walked side by side first, so that their waits overlap; the real ones then find the nodes cached,
and a guess of the way, which they check at every step and need not wait for.
"""

import numpy as np

from ksmbench.designs.ksm.state import (
    CHECKSUMMED,
    ITEM_STATE,
    LANE,
    NEXT_NODE,
    NODE_FREE_TOP,
    NULL,
    PATHS,
    ROOTS,
    STABLE_TREE,
    UNSTABLE_TREE,
    WARM_UNTIL,
)
from ksmbench.engine.counters import Counter
from ksmbench.engine.lcp import LINE, NEAR, compared_bytes
from ksmbench.engine.machine import CHECKSUM, END, LCP_NEAR, NODE_ROWS, ROWS, Vector, i32, i64, tree_rows, u8, u32
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import KEY, LEFT, RIGHT
from ksmbench.jit import Integer

LANES = 16
LARGE = 1 << 14  # nodes; 16 bytes each, smaller trees stay in the second-level cache
DEPTH = 64  # above the height of any red-black tree of 2**30 nodes
NO_GUESS = np.int64(2 * LANES * DEPTH)  # where PATHS holds what is no node


@part
def _walk_lanes(m: Vector, rows: Integer, root: Integer, first: Integer, n: Integer) -> None:
    lane, paths = i64(m, LANE), i32(m, PATHS)
    for i in range(n):
        lane[LANES + i] = root
    place = first
    going = root >= 0
    while going:
        going = False
        for i in range(n):
            at = lane[LANES + i]
            if at >= 0:
                at = rows[at, RIGHT - (lane[i] < rows[at, KEY])]
                lane[LANES + i] = at
                paths[place + i * DEPTH] = at
                going = True
        place += 1


@part
def descend_ahead(
    m: Vector, rows: Integer, root: Integer, content: Integer, place: Integer
) -> tuple[Integer, Integer, Integer, Integer, Integer, Integer]:
    """Begin a descent for `content` from `root`: as far as the guesses at `place` hold and keys are ordinary ones.

    Where a guess holds the processor has gone on from it before the comparison is done. Returns the node to go on from
    (NULL: a leaf was reached), the one above, its side, and so far: comparisons, long ones, bytes compared.
    """
    paths = i32(m, PATHS)
    comparisons = 0
    long = 0
    compared = 0
    at = root
    above: Integer = NULL
    side: Integer = LEFT
    while at >= 0:
        guess = paths[place]
        key = rows[at, KEY]
        if key <= 0 or key == content:
            break
        comparisons += 1
        read = compared_bytes(m, content, key)
        long += read > LINE
        compared += read
        side = RIGHT - (content < key)  # without a branch, which could not be predicted
        above = at
        following = rows[at, side]
        if following != guess:
            at = following
            break
        at = guess
        place += 1
    return at, above, side, comparisons, long, compared


@part
def guesses(e: Integer, tree: Integer) -> Integer:
    """Where PATHS holds what a descent for the page at `e` probably meets after the root, one node after the other."""
    return (tree * LANES + e % LANES) * DEPTH


@part
def read_ahead(m: Vector, mm: Integer, e: Integer) -> None:
    """Before the page at `e` of `mm` is processed: have its nodes, and those of the next pages, in the caches."""
    if 0 < m[WARM_UNTIL] - e <= LANES:
        return
    unstable = m[Counter.PAGES_UNSHARED] >= LARGE
    stable = m[NEXT_NODE] - m[NODE_FREE_TOP] >= LARGE
    if not unstable and not stable:
        return
    rows, state, lane = tree_rows(m, ROWS), u8(m, ITEM_STATE), i64(m, LANE)
    checksum, near = u32(m, CHECKSUM), i32(m, LCP_NEAR)
    first = e - e % LANES
    last = min(first + LANES, i64(m, END)[mm])
    touched = 0
    for i in range(first, last):
        content = rows[i, KEY]
        lane[i - first] = content
        if content >= 0 and state[i] & CHECKSUMMED:
            touched += checksum[content] + near[content * 2 * NEAR]
    lane[2 * LANES] = touched  # kept, so that the reads are
    m[WARM_UNTIL] = last
    if unstable:
        _walk_lanes(m, rows, i32(m, ROOTS)[UNSTABLE_TREE], guesses(first, UNSTABLE_TREE), last - first)
    if stable:
        _walk_lanes(m, tree_rows(m, NODE_ROWS), i32(m, ROOTS)[STABLE_TREE], guesses(first, STABLE_TREE), last - first)
