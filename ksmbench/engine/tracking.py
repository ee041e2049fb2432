"""What the designs of 2009 lose track of or hold on to: counted as entries change, where a design asks for it."""

import numpy as np

from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import ALIVE, DEAD_MAPS, HELD, LOST, MAPCOUNT, Machine, Vector, i32, u8
from ksmbench.engine.parts import part
from ksmbench.jit import Integer

_TRACKED = np.int64(0)  # numpy's, as numba compiles a function again for every literal that it is called with


def add_tracking(machine: Machine, n_entries: int, n_mms: int) -> None:
    """What the designs of 2009 lose track of or hold on to; no rows for designs that do not ask."""
    machine[LOST] = np.zeros(n_entries, np.uint8)
    machine[DEAD_MAPS] = np.zeros(n_entries + 2 if n_entries else 0, np.int32)
    machine[HELD] = np.zeros(n_mms, np.uint8)


@part
def note_dead_map(m: Vector, f: Integer) -> None:
    """One of the entries that map frame `f` is now an exited mm's."""
    i32(m, DEAD_MAPS)[f] += 1
    if i32(m, DEAD_MAPS)[f] == i32(m, MAPCOUNT)[f]:
        m[Counter.DEAD_PAGES] += 1


@part
def set_lost(m: Vector, e: Integer, cause: Integer) -> None:
    """Note why nothing tracks the merged frame at `e`; 0: something does, or it is not merged."""
    lost = u8(m, LOST)
    before = lost[e]
    if before:
        m[Counter.LOST_PTES] -= 1
        m[Counter.LOST_PTES + before] -= 1
    lost[e] = cause
    if cause:
        m[Counter.LOST_PTES] += 1
        m[Counter.LOST_PTES + cause] += 1


@part
def untrack(m: Vector, mm: Integer, e: Integer, f: Integer) -> None:
    """Before entry `e` of `mm` stops mapping frame `f`."""
    if u8(m, LOST)[e]:
        set_lost(m, e, _TRACKED)
    n, dead = i32(m, MAPCOUNT)[f], i32(m, DEAD_MAPS)[f]
    if n == dead:
        m[Counter.DEAD_PAGES] -= 1
    if not u8(m, ALIVE)[mm]:
        dead -= 1
        i32(m, DEAD_MAPS)[f] = dead
    if n > 1 and n - 1 == dead:
        m[Counter.DEAD_PAGES] += 1
