"""Reading ahead in trees that do not fit the caches: no effect on any result.

A descent waits for memory at every step, as the next node is known only when this one has arrived. The next LANES
pages' descents are walked side by side first, so that their waits overlap; the real ones then find the nodes cached.
"""

import numpy as np

from ksmbench.designs.ksm.state import (
    CHECKSUMMED,
    ITEM_STATE,
    LANE,
    NEXT_NODE,
    NODE_FREE_TOP,
    ROOTS,
    STABLE_TREE,
    UNSTABLE_TREE,
    WARM_UNTIL,
)
from ksmbench.engine.counters import Counter
from ksmbench.engine.jit import Integer, kernel
from ksmbench.engine.lcp import NEAR
from ksmbench.engine.machine import CHECKSUM, END, LCP_NEAR, NODE_ROWS, ROWS, Vector, i32, i64, tree_rows, u8, u32
from ksmbench.engine.rbtree import KEY, RIGHT

LANES = 16
LARGE = 1 << 14  # nodes; 16 bytes each, smaller trees stay in the second-level cache


@kernel
def _walk_lanes(m: Vector, rows: Integer, root: Integer, n: Integer) -> None:
    lane = i64(m, LANE)
    for i in range(n):
        lane[LANES + i] = root
    going = root >= 0
    while going:
        going = False
        for i in range(n):
            at = lane[LANES + i]
            if at >= 0:
                lane[LANES + i] = rows[at, RIGHT - np.int64(lane[i] < rows[at, KEY])]
                going = True


@kernel
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
    n = 0
    last = min(e + LANES, i64(m, END)[mm])
    touched = 0
    for i in range(e, last):
        content = np.int64(rows[i, KEY])
        if content >= 0 and state[i] & CHECKSUMMED:
            lane[n] = content
            n += 1
            touched += checksum[content] + near[content * 2 * NEAR]
    lane[2 * LANES] = touched  # kept, so that the reads are
    m[WARM_UNTIL] = last
    if unstable:
        _walk_lanes(m, rows, np.int64(i32(m, ROOTS)[UNSTABLE_TREE]), n)
    if stable:
        _walk_lanes(m, tree_rows(m, NODE_ROWS), np.int64(i32(m, ROOTS)[STABLE_TREE]), n)
