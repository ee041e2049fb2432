"""The CPU time of a batch, from the work it did and the prices of a cost profile.

Prices are integers, UNITS to the nanosecond, so that the order in which they are added up does not matter.
"""

import numpy as np
import numpy.typing as npt

from ksmbench.engine.counters import Counter
from ksmbench.engine.descents import LONGEST, N_TREES
from ksmbench.engine.machine import BEFORE, DESCENTS, DESCENTS_PAID, WEIGHTS, Machine, Vector, i64
from ksmbench.engine.parts import part
from ksmbench.jit import Integer

UNITS = 16  # a nanosecond

# The counters that have a price, in the order of WEIGHTS. The price of a batch comes before them; those of the bytes
# compared, of long comparisons and of nodes met for the first time in a batch come after them, then the levels of a
# tree where that counts, then for each tree what a search of 0, 1, 2 ... comparisons costs.
PRICED: tuple[int, ...] = tuple(
    int(counter)
    for counter in (
        Counter.PAGES_SCANNED,
        Counter.PAGES_SKIPPED,
        Counter.STEPS_ABSENT,
        Counter.STEPS_DEAD,
        Counter.STEPS_IDLE,
        Counter.CHECKSUMS,
        Counter.MERGES,
        Counter.STABLE_NODES_MADE,
        Counter.STALE_NODES_PRUNED,
        Counter.RMAP_ITEMS_MADE,
        Counter.RMAP_ITEMS_FREED,
        Counter.EMPTY_ENTRIES,
        Counter.EMPTY_ADDRESSES,
    )
)
N_PRICED = len(PRICED)
MOST_UNITS = np.int64(1 << 59)  # of one kind of work in a batch: more than a year
PER_BATCH = 0
PER_COUNTER = 1
PER_KIB = PER_COUNTER + N_PRICED
PER_LONG = PER_KIB + 1
PER_COLD = PER_LONG + 1
COLD_LEVELS = PER_COLD + 1  # a number, no price
PER_DESCENT = COLD_LEVELS + 1
N_WEIGHTS = PER_DESCENT + N_TREES * LONGEST


def add_prices(machine: Machine, weights: npt.NDArray[np.int64] | None) -> None:
    """Prices of work, int64 [N_WEIGHTS] in UNITS; without them it costs nothing."""
    machine[WEIGHTS] = np.zeros(N_WEIGHTS, np.int64) if weights is None else weights
    machine[DESCENTS_PAID] = np.zeros(N_TREES * LONGEST, np.int64)


@part
def price_batch(m: Vector) -> Integer:
    """Nanoseconds of CPU for what was done since BEFORE."""
    weights, before = i64(m, WEIGHTS), i64(m, BEFORE)
    units = weights[PER_BATCH]
    for i in range(N_PRICED):
        price = weights[PER_COUNTER + i]
        # A trace may map so much that nothing is in that the product would not fit.
        units += price * min(m[PRICED[i]] - before[PRICED[i]], MOST_UNITS // max(np.int64(1), price))
    long = m[Counter.LONG_COMPARISONS] - before[Counter.LONG_COMPARISONS]
    comparing = weights[PER_LONG] * long
    n_bytes = m[Counter.COMPARED_BYTES] - before[Counter.COMPARED_BYTES]
    comparing += weights[PER_KIB] * (n_bytes >> 10) + (weights[PER_KIB] * (n_bytes & 1023) >> 10)
    descents, paid = i64(m, DESCENTS), i64(m, DESCENTS_PAID)
    for tree in range(N_TREES):
        searches, steps = np.int64(0), np.int64(0)
        for comparisons in range(LONGEST):
            i = tree * LONGEST + comparisons
            n = descents[i] - paid[i]
            comparing += weights[PER_DESCENT + i] * n
            searches += n
            steps += comparisons * n
            paid[i] = descents[i]
        # Others used the caches while ksmd slept: see `ksmbench.engine.descents.cold_nodes`.
        for level in range(min(weights[COLD_LEVELS], steps // max(np.int64(1), searches))):
            comparing += weights[PER_COLD] * min(searches, 1 << level)
    m[Counter.COMPARING_NS] += comparing // UNITS
    return (units + comparing) // UNITS
