"""The ring of registered mms: where a new one goes, what an exit does to it (1.2, 2.4, 8.5)."""

from ksmbench.designs.ksm.state import CURSOR, MERGE_ANY_SURVIVES, REGISTERED, RUN, SLOT_ITEMS, SLOT_NEXT, SLOT_PREV
from ksmbench.engine.machine import ASKS, MERGE_ANY, Vector, i32, i64, u8
from ksmbench.engine.parts import part
from ksmbench.jit import Integer


@part
def _link_before(m: Vector, mm: Integer, place: Integer) -> None:
    before = i32(m, SLOT_PREV)[place]
    i32(m, SLOT_NEXT)[before] = mm
    i32(m, SLOT_PREV)[mm] = before
    i32(m, SLOT_NEXT)[mm] = place
    i32(m, SLOT_PREV)[place] = mm


@part
def _unlink(m: Vector, mm: Integer) -> None:
    i32(m, SLOT_NEXT)[i32(m, SLOT_PREV)[mm]] = i32(m, SLOT_NEXT)[mm]
    i32(m, SLOT_PREV)[i32(m, SLOT_NEXT)[mm]] = i32(m, SLOT_PREV)[mm]


@part
def is_ready(m: Vector) -> Integer:
    """ksmd_should_run: `run` is 1 and some mm is registered."""
    head = len(u8(m, REGISTERED))
    return m[RUN] == 1 and i32(m, SLOT_NEXT)[head] != head


@part
def enter(m: Vector, mm: Integer) -> None:
    """__ksm_enter: just behind the cursor, so that it is the last to be reached; while run is 2, at the tail."""
    if u8(m, REGISTERED)[mm]:
        return
    place = len(u8(m, REGISTERED)) if m[RUN] == 2 else m[CURSOR]
    _link_before(m, mm, place)
    u8(m, REGISTERED)[mm] = 1


@part
def drop_slot(m: Vector, mm: Integer) -> None:
    """Take `mm` off the ring; it has no items."""
    _unlink(m, mm)
    u8(m, REGISTERED)[mm] = 0


@part
def lapse(m: Vector, mm: Integer) -> None:
    """ksmd drops `mm`, as nothing of it is mergeable or it has exited."""
    drop_slot(m, mm)
    if not m[MERGE_ANY_SURVIVES] and not u8(m, ASKS)[mm]:
        u8(m, MERGE_ANY)[mm] = 0


@part
def leave(m: Vector, mm: Integer) -> None:
    """__ksm_exit: a slot without items goes at once; others wait for ksmd, next after the cursor."""
    if not u8(m, REGISTERED)[mm] or m[CURSOR] == mm:
        return
    if i64(m, SLOT_ITEMS)[mm] == 0:
        drop_slot(m, mm)
        return
    _unlink(m, mm)
    _link_before(m, mm, i32(m, SLOT_NEXT)[m[CURSOR]])
