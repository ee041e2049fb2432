"""Fork families, and mms whose memory a design holds after their exit."""

import numpy as np

from ksmbench.designs.review.merging import break_cow
from ksmbench.designs.review.state import (
    EXIT_NS,
    FAMILY_NEXT,
    FAMILY_PREV,
    HOLE_OF,
    ITEM_STATE,
    NULL,
    SLOT_ITEMS,
    TRACKED,
)
from ksmbench.designs.review.tree import free_item, lose, set_hole_items
from ksmbench.engine.machine import (
    ALIVE,
    BASE,
    COPIES_AT_EXIT,
    COPIES_AT_STOP,
    END,
    LONGEST_DELAY_NS,
    NOW,
    PAIR_FIRST,
    PAIRS,
    Vector,
    i32,
    i64,
    u8,
)
from ksmbench.engine.parts import part
from ksmbench.engine.verbs import free_mm
from ksmbench.jit import Integer

_NONE = np.int64(0)


@part
def join_family(m: Vector, child: Integer, parent: Integer) -> None:
    """`child` was forked from `parent`."""
    after = i32(m, FAMILY_NEXT)[parent]
    i32(m, FAMILY_NEXT)[parent] = child
    i32(m, FAMILY_PREV)[child] = parent
    i32(m, FAMILY_NEXT)[child] = after
    i32(m, FAMILY_PREV)[after] = child


@part
def leave_family(m: Vector, mm: Integer) -> None:
    """The memory of `mm` is gone."""
    before, after = i32(m, FAMILY_PREV)[mm], i32(m, FAMILY_NEXT)[mm]
    i32(m, FAMILY_NEXT)[before] = after
    i32(m, FAMILY_PREV)[after] = before
    i32(m, FAMILY_NEXT)[mm] = mm
    i32(m, FAMILY_PREV)[mm] = mm


@part
def free_held(m: Vector, mm: Integer) -> None:
    """Free the memory of an mm that has exited and was held."""
    free_mm(m, mm)
    leave_family(m, mm)
    m[LONGEST_DELAY_NS] = max(m[LONGEST_DELAY_NS], m[NOW] - i64(m, EXIT_NS)[mm])
    i64(m, EXIT_NS)[mm] = NULL


@part
def free_items(m: Vector, mm: Integer, first: Integer, last: Integer) -> None:
    """Detach and free the items of the entries first .. last - 1 and of the holes behind them."""
    for e in range(first, last):
        if i64(m, SLOT_ITEMS)[mm] == 0:
            return
        free_item(m, mm, e)
        if i32(m, HOLE_OF)[e] >= 0:
            set_hole_items(m, mm, e, _NONE)


@part
def break_and_free(m: Vector, mm: Integer, first: Integer, last: Integer, stopped: Integer) -> None:
    """Unshare what the items of these entries track, and free them; `stopped`: because of a store to run."""
    for e in range(first, last):
        if i64(m, SLOT_ITEMS)[mm] == 0:
            return
        if u8(m, ITEM_STATE)[e] & TRACKED and break_cow(m, mm, e):
            if stopped:
                m[COPIES_AT_STOP] += 1
            elif not u8(m, ALIVE)[mm]:
                m[COPIES_AT_EXIT] += 1
        free_item(m, mm, e)
        if i32(m, HOLE_OF)[e] >= 0:
            set_hole_items(m, mm, e, _NONE)


@part
def free_all_items(m: Vector, mm: Integer) -> None:
    """Detach and free every item of `mm`, in address order."""
    free_items(m, mm, i64(m, BASE)[mm], i64(m, END)[mm])


@part
def lose_pairs(m: Vector, i: Integer, side: Integer, cause: Integer) -> None:
    """Event `i` made entries map merged frames that no item tracks; `side`: which column of PAIRS they are."""
    for row in range(i64(m, PAIR_FIRST)[i], i64(m, PAIR_FIRST)[i + 1]):
        first = i64(m, PAIRS)[3 * row + side]
        for e in range(first, first + i64(m, PAIRS)[3 * row + 2]):
            lose(m, e, cause)
