"""The list of places that the scan goes through: where a new one goes, what its end does to the cursor."""

from ksmbench.designs.review.state import (
    CURSOR,
    HEAD,
    LISTED,
    NEXT_PLACE,
    NULL,
    OFFSET,
    PLACE_ENTRIES,
    PLACE_FIRST,
    PLACE_FREE,
    PLACE_FREE_TOP,
    PLACE_LAST,
    PLACE_MM,
    PLACE_NEXT,
    PLACE_PREV,
    POSITION,
    SELECTED,
)
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import Vector, i32, i64, u8
from ksmbench.engine.parts import part
from ksmbench.jit import Integer


@part
def is_empty(m: Vector) -> Integer:
    """Whether no place is listed."""
    return i32(m, PLACE_NEXT)[HEAD] == HEAD


@part
def link_before(m: Vector, place: Integer, other: Integer) -> None:
    """List `place` right before `other`; HEAD: at the tail."""
    before = i32(m, PLACE_PREV)[other]
    i32(m, PLACE_NEXT)[before] = place
    i32(m, PLACE_PREV)[place] = before
    i32(m, PLACE_NEXT)[place] = other
    i32(m, PLACE_PREV)[other] = place
    u8(m, LISTED)[place] = 1


@part
def unlink(m: Vector, place: Integer) -> None:
    """Take `place` off the list; the cursor is the caller's."""
    i32(m, PLACE_NEXT)[i32(m, PLACE_PREV)[place]] = i32(m, PLACE_NEXT)[place]
    i32(m, PLACE_PREV)[i32(m, PLACE_NEXT)[place]] = i32(m, PLACE_PREV)[place]
    u8(m, LISTED)[place] = 0


@part
def go_to(m: Vector, place: Integer) -> None:
    """Set the cursor to the beginning of `place`."""
    m[CURSOR] = place
    m[POSITION] = i64(m, PLACE_FIRST)[place]
    m[OFFSET] = 0
    m[SELECTED] = 0


@part
def retire(m: Vector, place: Integer) -> None:
    """Take `place` off the list; a cursor there goes on to the next one, and after the last one the pass ends."""
    after = i32(m, PLACE_NEXT)[place]
    at_cursor = m[CURSOR] == place
    unlink(m, place)
    if at_cursor:
        go_to(m, after)
        if after == HEAD:
            m[Counter.FULL_SCANS] += 1


@part
def make_place(m: Vector, mm: Integer, first: Integer, last: Integer) -> Integer:
    """A place for the entries first .. last - 1 of `mm`, not listed yet."""
    if m[PLACE_FREE_TOP] > 0:
        m[PLACE_FREE_TOP] -= 1
        place = i32(m, PLACE_FREE)[m[PLACE_FREE_TOP]]
    else:
        place = m[NEXT_PLACE]
        m[NEXT_PLACE] += 1
    i32(m, PLACE_MM)[place] = mm
    i64(m, PLACE_FIRST)[place] = first
    i64(m, PLACE_LAST)[place] = last
    i64(m, PLACE_ENTRIES)[place] = last - first
    return place


@part
def free_place(m: Vector, place: Integer) -> None:
    """Give back a place that is not listed."""
    i32(m, PLACE_MM)[place] = NULL
    i32(m, PLACE_FREE)[m[PLACE_FREE_TOP]] = place
    m[PLACE_FREE_TOP] += 1
