"""The hooks in fork and mremap that the RFC is given by the setting `callbacks` (`docs/designs-2009.md` 3)."""

from ksmbench.designs.review.mmlist import list_mm, make_slot
from ksmbench.designs.review.state import (
    ELEMENT_HEAD,
    EXISTS,
    FLAGGED,
    ITEM_ELEMENT,
    ITEM_NEXT,
    ITEM_PREV,
    ITEM_STATE,
    OLDCHECKSUM,
    SLOT,
    STABLE,
    TOUCHED,
    TRACKED,
    UNSTABLE,
)
from ksmbench.designs.review.tree import append, detach, free_item, is_merged, make_item, make_outside
from ksmbench.engine.machine import FRAME, PAIR_FIRST, PAIRS, Vector, i32, i64, u8, u32
from ksmbench.engine.parts import part
from ksmbench.jit import Integer


@part
def fork_callback(m: Vector, i: Integer, child: Integer) -> None:
    """List the child of fork event `i`, and give it items for what the parent's items track in it."""
    if not u8(m, FLAGGED)[child]:
        return
    list_mm(m, child)
    for row in range(i64(m, PAIR_FIRST)[i], i64(m, PAIR_FIRST)[i + 1]):
        for k in range(i64(m, PAIRS)[3 * row + 2]):
            here = i64(m, PAIRS)[3 * row] + k
            there = i64(m, PAIRS)[3 * row + 1] + k
            state = u8(m, ITEM_STATE)[here]
            if not state & TRACKED or not is_merged(m, there):
                continue
            if not u8(m, SLOT)[child]:
                make_slot(m, child)
                u8(m, TOUCHED)[child] = 1
            make_item(m, child, there)
            if state & STABLE:
                append(m, there, i32(m, ITEM_ELEMENT)[here])
            else:
                make_outside(m, there)


@part
def _travel(m: Vector, mm: Integer, here: Integer, there: Integer) -> None:
    # The item at `here` becomes that of `there`.
    free_item(m, mm, there)
    if u8(m, ITEM_STATE)[here] & UNSTABLE:
        detach(m, here)
    state = u8(m, ITEM_STATE)[here]
    u8(m, ITEM_STATE)[there] = state
    u8(m, ITEM_STATE)[here] = 0
    u32(m, OLDCHECKSUM)[there] = u32(m, OLDCHECKSUM)[here]
    if state & STABLE:
        n = i32(m, ITEM_ELEMENT)[here]
        before, after = i32(m, ITEM_PREV)[here], i32(m, ITEM_NEXT)[here]
        i32(m, ITEM_ELEMENT)[there] = n
        i32(m, ITEM_PREV)[there] = before
        i32(m, ITEM_NEXT)[there] = after
        if before >= 0:
            i32(m, ITEM_NEXT)[before] = there
        else:
            i32(m, ELEMENT_HEAD)[n] = there
        if after >= 0:
            i32(m, ITEM_PREV)[after] = there


@part
def mremap_callback(m: Vector, mm: Integer, i: Integer) -> None:
    """Let items travel with the pages that event `i` has moved."""
    for row in range(i64(m, PAIR_FIRST)[i], i64(m, PAIR_FIRST)[i + 1]):
        for k in range(i64(m, PAIRS)[3 * row + 2]):
            here = i64(m, PAIRS)[3 * row] + k
            there = i64(m, PAIRS)[3 * row + 1] + k
            if u8(m, ITEM_STATE)[here] & EXISTS and i32(m, FRAME)[there] >= 0:
                _travel(m, mm, here, there)
