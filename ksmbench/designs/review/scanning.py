"""The walk through one place's addresses, each of them a step, as the RFC, the rollup and 2.6.32 take it."""

from ksmbench.designs.review.merging import break_cow, changed, cmp_and_merge_page
from ksmbench.designs.review.state import (
    BILLS_ABSENT,
    BY_UNMERGE,
    BY_VMA,
    CURSOR,
    FORGETS,
    HOLE_ITEMS,
    HOLE_OF,
    ITEM_STATE,
    MERGE_ALL,
    OFFSET,
    PLACE_LAST,
    PLACE_OF,
    POSITION,
    STABLE,
    WAITS,
    hole_pages,
)
from ksmbench.designs.review.tree import detach, free_item, is_merged, lose, make_item, set_hole_items
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import ALIVE, FLAGS, FRAME, MAPCOUNT, Vector, i32, i64, u8
from ksmbench.engine.memory import MAPPED, MERGEABLE
from ksmbench.engine.parts import part
from ksmbench.jit import Integer


@part
def _is_scanned(m: Vector, mm: Integer, e: Integer) -> Integer:
    if m[BY_VMA]:
        return i32(m, PLACE_OF)[e] == m[CURSOR]
    flags = u8(m, FLAGS)[e]
    return (flags & MERGEABLE) != 0 or (u8(m, MERGE_ALL)[mm] != 0 and (flags & MAPPED) != 0)


@part
def _pass_over(m: Vector, mm: Integer, e: Integer) -> None:
    # The rest of entry `e` and its hole is not scanned: items there go, and with them what is known of merged pages.
    if m[BY_VMA]:
        return
    if m[OFFSET] == 0:
        free_item(m, mm, e)
        lose(m, e, BY_UNMERGE)
    h = i32(m, HOLE_OF)[e]
    if h >= 0:
        set_hole_items(m, mm, e, min(i64(m, HOLE_ITEMS)[h], max(0, m[OFFSET] - 1)))


@part
def bill(m: Vector, mm: Integer, present: Integer, n: Integer) -> None:
    """Count `n` steps at addresses of `mm`."""
    if not u8(m, ALIVE)[mm]:
        m[Counter.STEPS_DEAD] += n
    elif present:
        m[Counter.PAGES_SCANNED] += n
    else:
        m[Counter.STEPS_ABSENT] += n


@part
def _visit(m: Vector, mm: Integer, e: Integer) -> None:
    # The address of entry `e`, which is billed.
    present = i32(m, FRAME)[e] >= 0
    bill(m, mm, present, 1)
    make_item(m, mm, e)
    if not present:
        return
    if not is_merged(m, e):
        cmp_and_merge_page(m, mm, e)
    elif m[WAITS]:
        return  # the RFC does not look at merged pages
    elif not u8(m, ITEM_STATE)[e] & STABLE:
        cmp_and_merge_page(m, mm, e)
    elif m[FORGETS] and i32(m, MAPCOUNT)[i32(m, FRAME)[e]] == 1:
        break_cow(m, mm, e)
        detach(m, e)
        changed(m, e)


@part
def scan_place(m: Vector, mm: Integer, budget: Integer) -> Integer:
    """Scan on in the place at the cursor; returns the budget left. With some left, its end was reached."""
    last = i64(m, PLACE_LAST)[m[CURSOR]]
    while budget > 0 and m[POSITION] < last:
        e = m[POSITION]
        if not _is_scanned(m, mm, e):
            _pass_over(m, mm, e)
        elif m[OFFSET] == 0:
            m[OFFSET] = 1
            if m[BILLS_ABSENT] or i32(m, FRAME)[e] >= 0:
                budget -= 1
                _visit(m, mm, e)
            else:
                m[Counter.STEPS_ABSENT] += 1
                free_item(m, mm, e)
            if i32(m, HOLE_OF)[e] >= 0:
                continue
        elif m[BILLS_ABSENT]:
            seen = m[OFFSET] - 1
            n = min(budget, hole_pages(m, e) - seen)
            budget -= n
            m[OFFSET] += n
            bill(m, mm, False, n)
            set_hole_items(m, mm, e, max(i64(m, HOLE_ITEMS)[i32(m, HOLE_OF)[e]], seen + n))
            if seen + n < hole_pages(m, e):
                continue
        else:
            m[Counter.STEPS_ABSENT] += hole_pages(m, e)
        m[POSITION] = e + 1
        m[OFFSET] = 0
    return budget
