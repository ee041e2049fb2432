"""The list by vma: what is scanned are runs of adjacent mergeable addresses, each a place of its own (section 4)."""

import numpy as np

from ksmbench.designs.review.places import free_place, link_before, make_place, retire
from ksmbench.designs.review.state import (
    BY_UNMERGE,
    CURSOR,
    HEAD,
    HOLE_OF,
    PLACE_ENTRIES,
    PLACE_OF,
    RUN,
)
from ksmbench.designs.review.tree import free_item, lose, set_hole_items
from ksmbench.engine.machine import BASE, END, FLAGS, Vector, i32, i64, u8
from ksmbench.engine.memory import MERGEABLE
from ksmbench.engine.parts import part
from ksmbench.jit import Integer

_NONE = np.int64(0)
_RUN_UNMERGE = 2


@part
def _leave_area(m: Vector, mm: Integer, e: Integer) -> None:
    # Entry `e` is mergeable no more.
    place = i32(m, PLACE_OF)[e]
    i32(m, PLACE_OF)[e] = 0
    free_item(m, mm, e)
    lose(m, e, BY_UNMERGE)
    if i32(m, HOLE_OF)[e] >= 0:
        set_hole_items(m, mm, e, _NONE)
    i64(m, PLACE_ENTRIES)[place] -= 1
    if i64(m, PLACE_ENTRIES)[place] == 0:
        retire(m, place)
        free_place(m, place)


@part
def renew_areas(m: Vector, mm: Integer) -> None:
    """Bring the areas of `mm` up to date with what is mergeable; new ones enter just behind the cursor, ascending."""
    end = i64(m, END)[mm]
    for e in range(i64(m, BASE)[mm], end):
        if i32(m, PLACE_OF)[e] and not u8(m, FLAGS)[e] & MERGEABLE:
            _leave_area(m, mm, e)
    e = i64(m, BASE)[mm]
    while e < end:
        if i32(m, PLACE_OF)[e] or not u8(m, FLAGS)[e] & MERGEABLE:
            e += 1
            continue
        first = e
        # Pages between two entries are mapped as the one before: mergeable neighbours are adjacent.
        while e < end and not i32(m, PLACE_OF)[e] and u8(m, FLAGS)[e] & MERGEABLE:
            e += 1
        place = make_place(m, mm, first, e)
        for k in range(first, e):
            i32(m, PLACE_OF)[k] = place
        link_before(m, place, HEAD if m[RUN] == _RUN_UNMERGE else m[CURSOR])
