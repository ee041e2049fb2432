"""The replay of a trace through KSM: events, batches and samples in the order of virtual time."""

from ksmbench.designs.ksm.control import store
from ksmbench.designs.ksm.ring import enter, is_ready, leave
from ksmbench.designs.ksm.scan import batch, miscount
from ksmbench.designs.ksm.state import (
    ADVISOR_MODE,
    EXEC_INHERITS,
    EXEC_REGISTERS,
    FORK_COUNTS_AFRESH,
    HAS_PRCTL,
    HZ,
    INHERITED_ITEMS,
    INHERITED_MERGING,
    MERGE_ANY_SURVIVES,
    NEXT_NODE,
    NODE_FRAME,
    NODE_FREE_TOP,
    NOW_JIFFIES,
    PAGES_TO_SCAN,
    REGISTERED,
    SETTING_OF,
    SLEEP_MILLISECS,
    SLOT_ITEMS,
    SLOT_MERGING,
)
from ksmbench.engine.clock import DO_BATCH, DO_EVENT, DO_LOOK, END, after_sample, end_batch, next_step
from ksmbench.engine.columns import pinned
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ACTOR,
    ALIVE,
    ASKS,
    BEFORE,
    EVENT,
    EVERY_BATCH,
    FIRST,
    FRAME,
    IGNORE_TUNE,
    KIND,
    LAST,
    MERGE_ANY,
    MERGEABLE_ENTRIES,
    NAME,
    NOW,
    SETTLING,
    SPACE,
    SPACE_MM,
    SPACE_ROWS,
    UNTIL,
    VALUE,
    ZERO_PAGES,
    Vector,
    i32,
    i64,
    u8,
)
from ksmbench.engine.parts import part
from ksmbench.engine.samples import ASK, DONE, FULL, GROW, PAUSE, is_full, take_sample, take_space
from ksmbench.engine.settling import has_settled
from ksmbench.engine.verbs import ASKED, EXECED, EXITED, FORKED, apply
from ksmbench.jit import Integer, kernel
from ksmbench.trace.schema import Kind

PAUSE_AFTER = 500_000  # units of work (pages looked at, events) between two moments for Python

ADVISE = 10  # what the loop returns, besides those of samples: a full scan has ended, and the advisor is on


@part
def _event(m: Vector) -> None:
    i = m[EVENT]
    m[EVENT] = i + 1
    mm = i32(m, ACTOR)[i]
    if u8(m, KIND)[i] == Kind.TUNE:
        if not m[IGNORE_TUNE]:
            setting = i32(m, SETTING_OF)[i32(m, NAME)[i]] if i32(m, NAME)[i] >= 0 else -1
            store(m, setting, i64(m, VALUE)[i])
        return
    if u8(m, KIND)[i] == Kind.PRCTL and not m[HAS_PRCTL]:
        return
    told = apply(m, i)
    other = i64(m, VALUE)[i]
    if told & ASKED:
        # A mapping of an mm that was dropped is flagged, but only some releases let ksmd know of it.
        if u8(m, KIND)[i] != Kind.MAP or m[MERGE_ANY_SURVIVES] or u8(m, ASKS)[mm]:
            enter(m, mm)
    elif told & FORKED:
        _forked(m, mm, other)
    elif told & EXECED:
        i64(m, SPACE_MM)[i32(m, SPACE)[mm]] = other
        asks = u8(m, ASKS)[other] != 0
        if not m[EXEC_INHERITS] and not asks:
            u8(m, MERGE_ANY)[other] = 0
        if u8(m, MERGE_ANY)[other] and (m[EXEC_REGISTERS] or asks):
            enter(m, other)
        leave(m, mm)
    elif told & EXITED:
        leave(m, mm)


@part
def _forked(m: Vector, mm: Integer, child: Integer) -> None:
    if not m[FORK_COUNTS_AFRESH]:
        i64(m, INHERITED_ITEMS)[child] = i64(m, SLOT_ITEMS)[mm] + i64(m, INHERITED_ITEMS)[mm]
        i64(m, INHERITED_MERGING)[child] = i64(m, SLOT_MERGING)[mm] + i64(m, INHERITED_MERGING)[mm]
    if u8(m, REGISTERED)[mm]:
        if m[FORK_COUNTS_AFRESH]:
            m[Counter.KSM_ZERO_PAGES] += i64(m, ZERO_PAGES)[child]
        enter(m, child)
    elif u8(m, ASKS)[child] and i64(m, MERGEABLE_ENTRIES)[child] > 0:
        enter(m, child)


@part
def _sample(m: Vector) -> None:
    take_sample(m)
    if len(i64(m, SPACE_ROWS)) == 0:
        return
    space_mm = i64(m, SPACE_MM)
    for space in range(len(space_mm)):
        mm = space_mm[space]
        if u8(m, ALIVE)[mm]:
            items = i64(m, SLOT_ITEMS)[mm] + i64(m, INHERITED_ITEMS)[mm]
            merging = i64(m, SLOT_MERGING)[mm] + i64(m, INHERITED_MERGING)[mm]
            take_space(m, space, items, merging, i64(m, ZERO_PAGES)[mm])


@part
def _has_room(m: Vector) -> Integer:
    # A processed page makes at most a node and a chain.
    room = len(i32(m, NODE_FRAME)) - m[NEXT_NODE] + m[NODE_FREE_TOP]
    return room >= 2 * min(m[PAGES_TO_SCAN], len(i32(m, FRAME))) + 2


@kernel
def replay_loop(vector: Vector) -> Integer:
    """Go on with the replay until Python has to act: DONE, FULL, PAUSE, GROW, ASK or ADVISE."""
    m = pinned(vector)
    before = i64(m, BEFORE)
    work = 0
    while True:
        if is_full(m, len(i64(m, SPACE_MM))):
            return FULL
        if work > PAUSE_AFTER:
            return PAUSE
        step = next_step(m, is_ready(m), m[SLEEP_MILLISECS] * 1_000_000, m[Counter.FRAMES])
        if step == DO_EVENT:
            i = m[EVENT]
            work += 1 + i64(m, LAST)[i] - i64(m, FIRST)[i]
            _event(m)
        elif step == DO_BATCH:
            if not _has_room(m):
                return GROW
            for i in range(len(before)):
                before[i] = m[i]
            m[NOW_JIFFIES] = m[NOW] // (1_000_000_000 // m[HZ])
            whole = batch(m)
            end_batch(m)
            work += 20 + m[Counter.PAGES_SCANNED] - before[Counter.PAGES_SCANNED]
            miscount(m, before[Counter.PAGES_SCANNED], whole)
            if m[EVERY_BATCH]:
                _sample(m)
            if m[SETTLING] and m[Counter.FULL_SCANS] != before[Counter.FULL_SCANS] and has_settled(m):
                m[UNTIL] = m[NOW]
                take_sample(m)
                return DONE
            if m[ADVISOR_MODE] and m[Counter.FULL_SCANS] != before[Counter.FULL_SCANS]:
                return ADVISE
        elif step == DO_LOOK:
            return ASK
        elif step == END:
            take_sample(m)
            return DONE
        else:
            _sample(m)
            after_sample(m)
