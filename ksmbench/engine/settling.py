"""When a replay of a snapshot ends: once the counters stay as they are (`contract.md`, `until`)."""

from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import SETTLED, SETTLED_SAME, SETTLED_SCANS, Vector, i64
from ksmbench.engine.parts import part
from ksmbench.jit import Integer

MIN_EQUAL_SCANS = 10
MAX_SCANS = 1000


@part
def has_settled(m: Vector) -> Integer:
    """Whether ten full scans in a row ended alike, or a thousand ended; asked after a batch that ended one."""
    m[SETTLED_SCANS] += 1
    settled = i64(m, SETTLED)
    same = (
        settled[0] == m[Counter.PAGES_SHARED]
        and settled[1] == m[Counter.PAGES_SHARING]
        and settled[2] == m[Counter.KSM_ZERO_PAGES]
        and settled[3] == m[Counter.FRAMES]
    )
    settled[0] = m[Counter.PAGES_SHARED]
    settled[1] = m[Counter.PAGES_SHARING]
    settled[2] = m[Counter.KSM_ZERO_PAGES]
    settled[3] = m[Counter.FRAMES]
    m[SETTLED_SAME] = m[SETTLED_SAME] + 1 if same else 1
    return m[SETTLED_SAME] >= MIN_EQUAL_SCANS or m[SETTLED_SCANS] >= MAX_SCANS
