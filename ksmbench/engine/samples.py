"""Rows of samples, as the compiled loops write them; what a loop returns when Python has to act."""

import numpy as np
import numpy.typing as npt

from ksmbench.engine.counters import N_SAMPLED, Counter
from ksmbench.engine.machine import NOW, SAMPLE_ROWS, SAMPLES, SHOWN, SPACE_ROWS, SPACE_SAMPLES, Machine, Vector, i64
from ksmbench.engine.parts import part
from ksmbench.jit import Integer

# What a design's loop returns. It goes on where it was when it is called again.
DONE = 0
FULL = 1  # the buffers have no room for one more sample
PAUSE = 2  # a moment for progress and signals
GROW = 3  # the design's own arrays are too small for the next batch
ASK = 4  # it is time for who turns the settings

PAGE_BYTES = 4096
RMAP_ITEM_BYTES = 64  # struct ksm_rmap_item on 64-bit kernels; general_profit charges it

N_SHOWN = 3  # settings in a row, see turning.SHOWN_SETTINGS
ROW = 1 + N_SAMPLED + N_SHOWN  # time_ns, the counters, the settings
N_SPACE_COLUMNS = 5  # time_ns, space, then SPACE_COUNTERS


def add_samples(machine: Machine, capacity: int, spaces_capacity: int = 0) -> None:
    """Empty buffers; without `spaces_capacity` nothing is kept about single spaces."""
    machine[SAMPLE_ROWS] = np.zeros(capacity * ROW, np.int64)
    machine[SPACE_ROWS] = np.zeros(spaces_capacity * N_SPACE_COLUMNS, np.int64)


def take_away(machine: Machine) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Empty the buffers: the rows [n, ROW] and the spaces' rows [n, N_SPACE_COLUMNS] taken since."""
    m = machine.m
    rows = machine[SAMPLE_ROWS].reshape(-1, ROW)[: m[SAMPLES]].copy()
    spaces = machine[SPACE_ROWS].reshape(-1, N_SPACE_COLUMNS)[: m[SPACE_SAMPLES]].copy()
    m[SAMPLES] = m[SPACE_SAMPLES] = 0
    return rows, spaces


@part
def is_full(m: Vector, n_spaces: Integer) -> Integer:
    """Whether one more sample of `n_spaces` spaces may not fit."""
    if (m[SAMPLES] + 1) * ROW > len(i64(m, SAMPLE_ROWS)):
        return True
    room = len(i64(m, SPACE_ROWS))
    return room > 0 and (m[SPACE_SAMPLES] + n_spaces) * N_SPACE_COLUMNS > room


@part
def derive(counters: Vector) -> None:
    """Fill in the counters that the kernel computes when it is asked."""
    items = counters[Counter.RMAP_ITEMS]
    in_trees = counters[Counter.PAGES_SHARED] + counters[Counter.PAGES_SHARING] + counters[Counter.PAGES_UNSHARED]
    counters[Counter.PAGES_VOLATILE] = max(0, items - in_trees)
    saved = counters[Counter.PAGES_SHARING] + counters[Counter.KSM_ZERO_PAGES]
    counters[Counter.GENERAL_PROFIT] = saved * PAGE_BYTES - items * RMAP_ITEM_BYTES


@part
def take_sample(m: Vector) -> None:
    """Append a row with the counters as the kernel would print them now."""
    derive(m)
    rows = i64(m, SAMPLE_ROWS)
    start = m[SAMPLES] * ROW
    rows[start] = m[NOW]
    for i in range(N_SAMPLED):
        rows[start + 1 + i] = m[i]
    for i in range(N_SHOWN):
        rows[start + 1 + N_SAMPLED + i] = m[m[SHOWN + i]]
    m[SAMPLES] += 1


@part
def take_space(m: Vector, space: Integer, items: Integer, merging: Integer, zero: Integer) -> None:
    """Append a row about one space."""
    rows = i64(m, SPACE_ROWS)
    start = m[SPACE_SAMPLES] * N_SPACE_COLUMNS
    rows[start] = m[NOW]
    rows[start + 1] = space
    rows[start + 2] = items
    rows[start + 3] = merging
    rows[start + 4] = zero
    m[SPACE_SAMPLES] += 1
