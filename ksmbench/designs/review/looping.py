"""What the loops of the four designs have in common: what comes next in time, samples, the end of a batch."""

from ksmbench.designs.review.state import SLEEP, SLEEP_MILLISECS, WORK
from ksmbench.engine.clock import DO_BATCH, DO_EVENT, DO_LOOK, END, after_sample, end_batch, next_step
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ALIVE,
    BEFORE,
    EVENT,
    EVERY_BATCH,
    FIRST,
    LAST,
    NOW,
    SETTLING,
    SPACE_MM,
    SPACE_ROWS,
    UNTIL,
    Vector,
    i64,
    u8,
)
from ksmbench.engine.parts import part
from ksmbench.engine.samples import ASK, DONE, FULL, PAUSE, is_full, take_sample, take_space
from ksmbench.engine.settling import has_settled
from ksmbench.jit import Integer

STOP = 100  # plus what the loop returns to Python
PAUSE_AFTER = 500_000  # units of work (pages looked at, events) between two moments for Python


@part
def _sleep_ns(m: Vector) -> Integer:
    return m[SLEEP] * 1_000 if m[SLEEP] else m[SLEEP_MILLISECS] * 1_000_000


@part
def _sample(m: Vector) -> None:
    take_sample(m)
    if len(i64(m, SPACE_ROWS)) == 0:
        return
    space_mm = i64(m, SPACE_MM)
    for space in range(len(space_mm)):
        if u8(m, ALIVE)[space_mm[space]]:
            take_space(m, space, 0, 0, 0)  # none of the designs counted by mm


@part
def next_action(m: Vector, ready: Integer) -> Integer:
    """Go on in time: DO_EVENT (EVENT was advanced past it), DO_BATCH, or STOP and what to return."""
    while True:
        if is_full(m, len(i64(m, SPACE_MM))):
            return STOP + FULL
        if m[WORK] > PAUSE_AFTER:
            m[WORK] = 0
            return STOP + PAUSE
        step = next_step(m, ready, _sleep_ns(m), m[Counter.FRAMES])
        if step == DO_EVENT:
            i = m[EVENT]
            m[EVENT] = i + 1
            m[WORK] += 1 + i64(m, LAST)[i] - i64(m, FIRST)[i]
            return DO_EVENT
        if step == DO_BATCH:
            before = i64(m, BEFORE)
            for k in range(len(before)):
                before[k] = m[k]
            return DO_BATCH
        if step == DO_LOOK:
            return STOP + ASK
        if step == END:
            take_sample(m)
            return STOP + DONE
        _sample(m)
        after_sample(m)


@part
def finish_batch(m: Vector) -> Integer:
    """Charge the batch that was run and sample it; whether the replay ends with it."""
    end_batch(m)
    before = i64(m, BEFORE)
    m[WORK] += 20 + m[Counter.PAGES_SCANNED] - before[Counter.PAGES_SCANNED]
    if m[EVERY_BATCH]:
        _sample(m)
    if m[SETTLING] and m[Counter.FULL_SCANS] != before[Counter.FULL_SCANS] and has_settled(m):
        m[UNTIL] = m[NOW]
        take_sample(m)
        return True
    return False
