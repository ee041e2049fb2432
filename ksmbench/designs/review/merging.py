"""Merges of 2009: write protection, a frame joined, a pair of pages made one, and what is undone (section 1)."""

import numpy as np

from ksmbench.designs.ksm.state import mm_of
from ksmbench.designs.review.state import (
    BREAKS_FAILED,
    CHECKSUMMED,
    FAMILY_NEXT,
    ITEM_ELEMENT,
    ITEM_STATE,
    MAX_KERNEL_PAGES,
    OLDCHECKSUM,
    PAGES,
    TRACKED,
    WAITS,
    WRPROTECT,
)
from ksmbench.designs.review.tree import (
    append,
    detach,
    is_merged,
    make_outside,
    stable_insert,
    stable_search,
    unstable_search,
)
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ALIVE,
    BASE,
    CHECKSUM,
    CONTENT,
    END,
    FLAGS,
    FRAME,
    NODE,
    NUMA,
    Vector,
    i32,
    i64,
    u8,
    u32,
)
from ksmbench.engine.memory import KSM_WITHOUT_NODE, MAPPED, break_entry, new_frame, replace_frame
from ksmbench.engine.parts import part
from ksmbench.engine.tracking import note_dead_map
from ksmbench.jit import Integer

THROUGH_RMAP = 0
_INSERT = np.int64(1)


@part
def _maps_page(m: Vector, mm: Integer, page: Integer) -> Integer:
    # Whether the page lies in a private mapping of `mm`, whose entries before it say so.
    low, high = i64(m, BASE)[mm], i64(m, END)[mm]
    while low < high:
        middle = (low + high) >> 1
        if i64(m, PAGES)[middle] <= page:
            low = middle + 1
        else:
            high = middle
    return low > i64(m, BASE)[mm] and (u8(m, FLAGS)[low - 1] & MAPPED) != 0


@part
def _write_protect(m: Vector, mm: Integer, e: Integer) -> None:
    visits = 1
    if m[WRPROTECT] == THROUGH_RMAP:
        other = i32(m, FAMILY_NEXT)[mm]
        while other != mm:
            if _maps_page(m, other, i64(m, PAGES)[e]):
                visits += 1
            other = i32(m, FAMILY_NEXT)[other]
    m[Counter.WRPROTECT_PTES] += visits


@part
def _merge_onto(m: Vector, mm: Integer, e: Integer, target: Integer) -> None:
    _write_protect(m, mm, e)
    replace_frame(m, mm, e, target)
    if not u8(m, ALIVE)[mm]:
        note_dead_map(m, target)


@part
def break_cow(m: Vector, mm: Integer, e: Integer) -> Integer:
    """Give `e` a frame of its own if it maps a merged one; whether it did."""
    if not is_merged(m, e):
        return False
    break_entry(m, mm, e)
    if not u8(m, ALIVE)[mm]:
        note_dead_map(m, i32(m, FRAME)[e])
    return True


@part
def join(m: Vector, mm: Integer, e: Integer, live: Integer) -> None:
    """Let `e` map the merged frame at `live`, the first live item of its element."""
    _merge_onto(m, mm, e, i32(m, FRAME)[live])
    append(m, e, i32(m, ITEM_ELEMENT)[live])


@part
def has_quota(m: Vector) -> Integer:
    """Whether max_kernel_pages lets one more merged frame be made."""
    return m[MAX_KERNEL_PAGES] == 0 or m[Counter.KERNEL_PAGES_COUNTED] < m[MAX_KERNEL_PAGES]


@part
def merge_pair(m: Vector, mm: Integer, e: Integer, t: Integer) -> None:
    """Merge the page at `e` with that of the unstable item `t` into a new frame; the quota allows it."""
    f = i32(m, FRAME)[e]
    k = new_frame(m, i32(m, CONTENT)[f], u8(m, NUMA)[f])
    i32(m, NODE)[k] = KSM_WITHOUT_NODE
    m[Counter.FRAMES_KSM] += 1
    other = mm_of(m, t)
    _merge_onto(m, mm, e, k)
    _merge_onto(m, other, t, k)
    detach(m, t)
    if stable_insert(m, t):
        append(m, e, i32(m, ITEM_ELEMENT)[t])
    elif m[BREAKS_FAILED]:
        break_cow(m, other, t)
        break_cow(m, mm, e)
    else:
        make_outside(m, t)
        make_outside(m, e)


@part
def changed(m: Vector, e: Integer) -> Integer:
    """Compute the checksum of the page at `e`: whether the item there has another, which is replaced."""
    checksum = u32(m, CHECKSUM)[i32(m, CONTENT)[i32(m, FRAME)[e]]]
    m[Counter.CHECKSUMS] += 1
    if u8(m, ITEM_STATE)[e] & CHECKSUMMED and u32(m, OLDCHECKSUM)[e] == checksum:
        return False
    u32(m, OLDCHECKSUM)[e] = checksum
    u8(m, ITEM_STATE)[e] |= CHECKSUMMED
    return True


@part
def cmp_and_merge_page(m: Vector, mm: Integer, e: Integer) -> None:
    """Process the page at `e`, which has an item, as the RFC, the rollup and 2.6.32 do (sections 3 and 4)."""
    waits = m[WAITS] and u8(m, ITEM_STATE)[e] & TRACKED
    detach(m, e)
    live = stable_search(m, i32(m, CONTENT)[i32(m, FRAME)[e]])
    if live >= 0:
        if i32(m, FRAME)[live] == i32(m, FRAME)[e]:
            append(m, e, i32(m, ITEM_ELEMENT)[live])
        elif not is_merged(m, e):
            join(m, mm, e, live)
        return
    if waits:
        return
    break_cow(m, mm, e)
    if changed(m, e):
        return
    t = unstable_search(m, e, _INSERT)
    if t >= 0 and has_quota(m):
        merge_pair(m, mm, e, t)
