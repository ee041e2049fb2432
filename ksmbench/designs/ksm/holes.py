"""What the scan passes in mergeable memory that holds no page, and how many steps that takes.

No counter of the kernel shows these steps, CPU time does. Releases with the range walk (`ksm-semantics.md` 11) look at
every entry of the page tables that are there, and at one entry of an upper table for each that is not; a step is an
entry. Those before look at every address; a step is an address. A page table is taken to be there where one of its
pages has an entry in the plan: where something is present at some time, or a mapping begins or ends.
"""

import numpy as np
import numpy.typing as npt

from ksmbench.designs.ksm.state import HOLE_OF, HOLE_STEPS, NULL, RANGE_WALK
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import FLAGS, Machine, Vector, i32, i64, u8
from ksmbench.engine.memory import MERGEABLE
from ksmbench.engine.parts import part
from ksmbench.engine.plan import Plan
from ksmbench.jit import Integer

Pages = npt.NDArray[np.int64]
_BITS = 9  # 512 entries in a table of x86-64
_LEVELS = 4


def table_steps(first: Pages, stop: Pages) -> Pages:
    """Steps of a range walk over the pages `first` .. `stop` - 1, int64 [n]: the pages beside them have page tables."""
    low, high = first - 1, stop.copy()
    steps = np.zeros(len(first), np.int64)
    above = np.ones(len(first), bool)  # whether the two are in different tables so far
    for level in range(_LEVELS):
        same = (low >> _BITS == high >> _BITS) | (level == _LEVELS - 1)
        within = high - low - 1
        beside = ((low >> _BITS) + 1 << _BITS) - low - 1 + (high & (1 << _BITS) - 1)
        steps += np.where(above, np.where(same, within, beside), 0)
        above &= ~same
        low, high = low >> _BITS, high >> _BITS
    return steps


def add_holes(machine: Machine, plan: Plan, range_walk: int) -> None:
    """The pages between the entries of the plan, by what it takes to pass them."""
    entry, first, stop = plan.holes()
    hole_of = np.full(plan.n_entries, NULL, np.int32)
    hole_of[entry] = np.arange(len(entry))
    machine[HOLE_OF] = hole_of
    machine[HOLE_STEPS] = table_steps(first, stop) if range_walk else stop - first


@part
def _count(m: Vector, steps: Integer) -> None:
    if m[RANGE_WALK]:
        m[Counter.EMPTY_ENTRIES] += steps
    else:
        m[Counter.EMPTY_ADDRESSES] += steps


@part
def pass_entry(m: Vector, e: Integer) -> None:
    """The scan looked at entry `e`, where there is no page for it."""
    if u8(m, FLAGS)[e] & MERGEABLE:
        _count(m, 1)


@part
def pass_hole(m: Vector, e: Integer) -> None:
    """The scan went over the pages behind entry `e`, whose mapping is that of `e`."""
    h = i32(m, HOLE_OF)[e]
    if h >= 0 and u8(m, FLAGS)[e] & MERGEABLE:
        _count(m, i64(m, HOLE_STEPS)[h])
