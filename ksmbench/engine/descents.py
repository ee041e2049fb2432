"""How long the searches in trees are: a count of descents by tree and number of comparisons.

What a comparison costs depends on how deep in its tree it is: the nodes near the root are in the processor's caches,
those far below are not. So it is not enough to know how many comparisons there were.
"""

import numpy as np
import numpy.typing as npt

from ksmbench.engine.machine import DESCENTS, Machine, Vector, i64
from ksmbench.engine.parts import part
from ksmbench.jit import Integer

LONGEST = 64  # comparisons; above the height of any red-black tree of 2**30 nodes, longer ones count as that
STABLE, UNSTABLE = np.int64(0), np.int64(1)
N_TREES = 2


def cold_nodes(searches: npt.NDArray[np.int64], levels: int) -> npt.NDArray[np.int64]:
    """Nodes that a batch meets for the first time: int64 [n] from the searches [n, N_TREES, LONGEST] of n batches.

    A level k of a tree has 2**k nodes, and s searches meet min(s, 2**k) of them; `levels` at most are looked at, and
    only as many as a search of the batch has comparisons on average.
    """
    count = searches.sum(axis=2)
    depth = np.minimum(levels, searches @ np.arange(LONGEST) // np.maximum(1, count))
    found = np.zeros(len(searches), np.int64)
    for level in range(levels):
        found += (np.minimum(count, 1 << level) * (level < depth)).sum(axis=1)
    return found


def add_descents(machine: Machine) -> None:
    """None so far."""
    machine[DESCENTS] = np.zeros(N_TREES * LONGEST, np.int64)


@part
def count_descent(m: Vector, tree: Integer, comparisons: Integer) -> None:
    """A search in a STABLE or UNSTABLE tree has ended."""
    i64(m, DESCENTS)[tree * LONGEST + min(comparisons, LONGEST - 1)] += 1
