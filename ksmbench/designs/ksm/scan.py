"""ksmd's cursor and its batches (2.2 to 2.4), and smart scan (5)."""

from ksmbench.designs.ksm.holes import pass_entry, pass_hole
from ksmbench.designs.ksm.merge import cmp_and_merge_page, detach
from ksmbench.designs.ksm.nodes import probe_parked
from ksmbench.designs.ksm.ring import lapse
from ksmbench.designs.ksm.state import (
    ADVISOR_MODE,
    CURSOR,
    EXISTS,
    ITEM_AGE,
    ITEM_STATE,
    MERGE_ACROSS_NODES,
    NULL,
    PAGES_SCANNED_BUG,
    PAGES_TO_SCAN,
    POSITION,
    REGISTERED,
    REMAINING_SKIPS,
    ROOTS,
    SCAN_START,
    SEQ,
    SLOT_ITEMS,
    SLOT_NEXT,
    SMART_SCAN,
    STABLE,
    STABLE_FORGETS,
    UNSTABLE_TREE,
)
from ksmbench.designs.ksm.warm import read_ahead
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ALIVE,
    BASE,
    END,
    FRAME,
    MERGEABLE_ENTRIES,
    NOW,
    ROWS,
    Vector,
    i32,
    i64,
    tree_rows,
    u8,
)
from ksmbench.engine.memory import billable_content, is_ksm
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import KEY
from ksmbench.jit import Integer, kernel


@part
def free_item(m: Vector, mm: Integer, e: Integer) -> None:
    """Detach and free the item at `e`."""
    detach(m, mm, e)
    u8(m, ITEM_STATE)[e] = 0
    i64(m, SLOT_ITEMS)[mm] -= 1
    m[Counter.RMAP_ITEMS] -= 1
    m[Counter.RMAP_ITEMS_FREED] += 1


@part
def free_items(m: Vector, mm: Integer) -> None:
    """Free every item of `mm`, in address order."""
    if i64(m, SLOT_ITEMS)[mm] == 0:
        return
    for e in range(i64(m, BASE)[mm], i64(m, END)[mm]):
        if u8(m, ITEM_STATE)[e]:
            free_item(m, mm, e)


@part
def _get_item(m: Vector, mm: Integer, e: Integer) -> None:
    # get_next_rmap_item: an item that is there is used again, whatever was mapped here meanwhile.
    if u8(m, ITEM_STATE)[e] & EXISTS:
        return
    u8(m, ITEM_STATE)[e] = EXISTS
    u8(m, ITEM_AGE)[e] = 0
    u8(m, REMAINING_SKIPS)[e] = 0
    i64(m, SLOT_ITEMS)[mm] += 1
    m[Counter.RMAP_ITEMS] += 1
    m[Counter.RMAP_ITEMS_MADE] += 1


@part
def should_skip_rmap_item(m: Vector, mm: Integer, e: Integer) -> Integer:
    """Smart scan: pages that did not merge are looked at less and less often."""
    if not m[SMART_SCAN] or is_ksm(m, i32(m, FRAME)[e]):
        return False
    if m[STABLE_FORGETS] and u8(m, ITEM_STATE)[e] & STABLE:
        return False  # where its age was is something else, and it is about to leave its node
    age = u8(m, ITEM_AGE)[e]
    if age != 255:
        u8(m, ITEM_AGE)[e] = age + 1
    if age < 3:
        return False
    if u8(m, REMAINING_SKIPS)[e] == 0:
        if age <= 3:
            u8(m, REMAINING_SKIPS)[e] = 1
        elif age <= 5:
            u8(m, REMAINING_SKIPS)[e] = 2
        elif age <= 8:
            u8(m, REMAINING_SKIPS)[e] = 4
        else:
            u8(m, REMAINING_SKIPS)[e] = 8
        return False
    m[Counter.PAGES_SKIPPED] += 1
    u8(m, REMAINING_SKIPS)[e] -= 1
    detach(m, mm, e)
    return True


@part
def _walk(m: Vector, mm: Integer) -> Integer:
    # From the position on: the next entry to process, or NULL at the end of the mm. Items passed over without a page
    # are what the kernel frees as stale or trailing.
    rows = tree_rows(m, ROWS)
    base, end = i64(m, BASE)[mm], i64(m, END)[mm]
    for e in range(m[POSITION], end):
        if e > base:
            pass_hole(m, e - 1)
        if rows[e, KEY] < 0 or billable_content(m, e) < 0:
            if u8(m, ITEM_STATE)[e]:
                free_item(m, mm, e)
            pass_entry(m, e)
            continue
        _get_item(m, mm, e)
        if not should_skip_rmap_item(m, mm, e):
            return e
    if end > base:
        pass_hole(m, end - 1)
    return NULL


@part
def _begin_pass(m: Vector) -> None:
    if m[ADVISOR_MODE]:
        m[SCAN_START] = m[NOW]
    if not m[MERGE_ACROSS_NODES]:
        probe_parked(m)
    roots = i32(m, ROOTS)
    for tree in range(UNSTABLE_TREE, len(roots), 2):
        roots[tree] = NULL


@part
def scan_get_next_rmap_item(m: Vector) -> Integer:
    """The next entry to process, or NULL at the end of a pass or where no mm is registered."""
    head = len(u8(m, REGISTERED))
    if i32(m, SLOT_NEXT)[head] == head:
        return NULL
    mm = m[CURSOR]
    if mm == head:
        _begin_pass(m)
        mm = i32(m, SLOT_NEXT)[head]
        m[CURSOR] = mm
        m[POSITION] = i64(m, BASE)[mm]
    while True:
        keep = False
        if u8(m, ALIVE)[mm]:
            from_start = m[POSITION] == i64(m, BASE)[mm]
            e = _walk(m, mm)
            if e >= 0:
                m[POSITION] = e + 1
                return e
            # Without anything mergeable an mm is dropped, but only by a visit that began at its start.
            keep = i64(m, MERGEABLE_ENTRIES)[mm] > 0 or not from_start
        else:
            free_items(m, mm)
        following = i32(m, SLOT_NEXT)[mm]
        if not keep:
            lapse(m, mm)
        mm = following
        m[CURSOR] = mm
        if mm == head:
            m[SEQ] += 1
            m[Counter.FULL_SCANS] = m[SEQ]
            return NULL
        m[POSITION] = i64(m, BASE)[mm]


@kernel
def batch(m: Vector) -> Integer:
    """ksm_do_scan: process up to pages_to_scan pages; a batch never crosses the end of a pass.

    Whether it used its budget up.
    """
    for _ in range(m[PAGES_TO_SCAN]):
        e = scan_get_next_rmap_item(m)
        if e < 0:
            return False
        read_ahead(m, m[CURSOR], e)
        cmp_and_merge_page(m, m[CURSOR], e)
        m[Counter.PAGES_SCANNED] += 1
    return True


@part
def miscount(m: Vector, before: Integer, whole: Integer) -> None:
    """Let pages_scanned, `before` the batch, be what 6.6 to 6.9 make of it; `whole`: its budget was used up."""
    if m[PAGES_SCANNED_BUG]:
        m[Counter.PAGES_SCANNED] = before + (m[PAGES_TO_SCAN] + 1 if whole else 0)
