"""Hugh Dickins's list, of the rollup and of 2.6.32: registration, passes and batches, stores (sections 4 and 5)."""

import numpy as np

from ksmbench.designs.design import Setting
from ksmbench.designs.review.areas import renew_areas
from ksmbench.designs.review.holding import free_all_items, free_items, join_family, leave_family, lose_pairs
from ksmbench.designs.review.merging import break_cow
from ksmbench.designs.review.places import go_to, is_empty, link_before, retire, unlink
from ksmbench.designs.review.scanning import scan_place
from ksmbench.designs.review.state import (
    BILLS_ABSENT,
    BY_FORK,
    BY_MOVE,
    BY_UNMERGE,
    BY_VMA,
    CURSOR,
    HEAD,
    LISTED,
    OFFSET,
    PAGES_TO_SCAN,
    PLACE_FIRST,
    PLACE_LAST,
    PLACE_MM,
    PLACE_NEXT,
    PLACE_OF,
    POSITION,
    RUN,
    SLOT_ITEMS,
)
from ksmbench.designs.review.stores import setting_of, store_number
from ksmbench.designs.review.tree import drop_unstable_tree, lose
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ACTOR,
    ALIVE,
    ASKS,
    COPIES_AT_STOP,
    FLAGS,
    IGNORE_TUNE,
    KIND,
    MERGEABLE_ENTRIES,
    REFUSED,
    SPACE,
    SPACE_MM,
    VALUE,
    Vector,
    i32,
    i64,
    u8,
)
from ksmbench.engine.memory import MERGEABLE
from ksmbench.engine.parts import part
from ksmbench.engine.verbs import ASKED, EXECED, EXITED, FORKED, MOVED, apply
from ksmbench.jit import Integer
from ksmbench.trace.schema import Kind

RUN_SETTING = Setting("run", 1, 0, 2, "0 stops ksmd and keeps what is merged, 1 runs it, 2 unmerges everything")
RUN_UNMERGE = 2
_HERE, _THERE = np.int64(0), np.int64(1)  # columns of PAIRS


@part
def is_ready(m: Vector) -> Integer:
    """Whether ksmd has something to do."""
    return m[RUN] == 1 and not is_empty(m)


@part
def _enter(m: Vector, mm: Integer) -> None:
    place = mm + 1
    if not u8(m, LISTED)[place]:
        link_before(m, place, HEAD if m[RUN] == RUN_UNMERGE else m[CURSOR])


@part
def _exit(m: Vector, mm: Integer) -> None:
    # The memory of `mm` is gone.
    leave_family(m, mm)
    if m[BY_VMA]:
        renew_areas(m, mm)
        return
    place = mm + 1
    if m[BILLS_ABSENT]:  # the rollup: at once
        free_all_items(m, mm)
        if u8(m, LISTED)[place]:
            retire(m, place)
        return
    if not u8(m, LISTED)[place] or m[CURSOR] == place:
        return
    unlink(m, place)
    if i64(m, SLOT_ITEMS)[mm] > 0:
        link_before(m, place, i32(m, PLACE_NEXT)[m[CURSOR]])


@part
def _changes_mappings(kind: Integer) -> Integer:
    return kind == Kind.MAP or kind == Kind.UNMAP or kind == Kind.MADVISE or kind == Kind.MOVE


@part
def do_event(m: Vector, i: Integer) -> None:
    """Apply event `i` and what the fork and exit hooks make of it."""
    mm, kind = i32(m, ACTOR)[i], u8(m, KIND)[i]
    if kind == Kind.TUNE:
        if not m[IGNORE_TUNE]:
            _store(m, setting_of(m, i), i64(m, VALUE)[i])
        return
    if kind == Kind.PRCTL:
        return
    told = apply(m, i)
    other = i64(m, VALUE)[i]
    if told & FORKED:
        join_family(m, other, mm)
        lose_pairs(m, i, _THERE, BY_FORK)
        if m[BY_VMA]:
            renew_areas(m, other)
        elif u8(m, LISTED)[mm + 1] or (u8(m, ASKS)[other] and i64(m, MERGEABLE_ENTRIES)[other] > 0):
            _enter(m, other)
    elif told & (EXITED | EXECED):
        if told & EXECED:
            i64(m, SPACE_MM)[i32(m, SPACE)[mm]] = other
        _exit(m, mm)
    else:
        if told & MOVED:
            lose_pairs(m, i, _THERE, BY_MOVE)
        elif kind == Kind.SHARE:
            lose_pairs(m, i, _HERE, BY_FORK)
        if m[BY_VMA]:
            if _changes_mappings(kind):
                renew_areas(m, mm)
        elif told & ASKED:
            _enter(m, mm)


@part
def _unmerge_everything(m: Vector) -> None:
    place = i32(m, PLACE_NEXT)[HEAD]
    while place != HEAD:
        following = i32(m, PLACE_NEXT)[place]
        mm = i32(m, PLACE_MM)[place]
        first, last = i64(m, PLACE_FIRST)[place], i64(m, PLACE_LAST)[place]
        if u8(m, ALIVE)[mm]:
            for e in range(first, last):
                if i32(m, PLACE_OF)[e] == place if m[BY_VMA] else u8(m, FLAGS)[e] & MERGEABLE:
                    m[COPIES_AT_STOP] += break_cow(m, mm, e)
        else:
            m[Counter.STEPS_DEAD] += 1
        if m[BY_VMA]:
            for e in range(first, last):
                if i32(m, PLACE_OF)[e] == place:
                    free_items(m, mm, e, e + 1)
        else:
            free_items(m, mm, first, last)
            for e in range(first, last):
                lose(m, e, BY_UNMERGE)  # what is merged where nothing is mergeable had an item until now
        if not u8(m, ALIVE)[mm]:
            unlink(m, place)
        place = following
    m[Counter.FULL_SCANS] = 0
    m[CURSOR] = HEAD


@part
def _store(m: Vector, setting: Integer, value: Integer) -> None:
    if setting == RUN:
        ok = 0 <= value <= RUN_UNMERGE
        if ok and value != m[RUN]:
            m[RUN] = value
            if value == RUN_UNMERGE:
                _unmerge_everything(m)
    else:
        ok = store_number(m, setting, value)
    if not ok:
        m[REFUSED] += 1


@part
def batch(m: Vector) -> None:
    """Up to pages_to_scan steps; a batch never crosses the end of a pass."""
    budget = m[PAGES_TO_SCAN]
    while budget > 0 and not is_empty(m):
        if m[CURSOR] == HEAD:
            drop_unstable_tree(m)
            go_to(m, i32(m, PLACE_NEXT)[HEAD])
        place = m[CURSOR]
        mm = i32(m, PLACE_MM)[place]
        keep = False
        if u8(m, ALIVE)[mm]:
            from_start = m[POSITION] == i64(m, PLACE_FIRST)[place] and m[OFFSET] == 0
            if from_start and i64(m, MERGEABLE_ENTRIES)[mm] == 0:
                m[Counter.STEPS_IDLE] += 1
            budget = scan_place(m, mm, budget)
            if budget == 0:
                return
            # Without anything mergeable an mm is dropped, but only by a visit that began at its start.
            keep = m[BY_VMA] or i64(m, MERGEABLE_ENTRIES)[mm] > 0 or not from_start
        else:
            m[Counter.STEPS_DEAD] += 1
            free_all_items(m, mm)
        following = i32(m, PLACE_NEXT)[place]
        if not keep:
            unlink(m, place)
        go_to(m, following)
        if following == HEAD:
            m[Counter.FULL_SCANS] += 1
            return
