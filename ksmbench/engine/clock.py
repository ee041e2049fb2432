"""Virtual time: which event, batch of ksmd or sample comes next (`contract.md`, `ksm-semantics.md` 2.1).

At one time, events come first, then who turns the settings (`turning`), then a batch, then a sample. A batch happens at
its start; the CPU time it costs passes afterwards, then ksmd sleeps. Time is an int64 in nanoseconds of the trace.
"""

import numpy as np
import numpy.typing as npt

from ksmbench.engine.counters import N_COUNTERS, Counter
from ksmbench.engine.descents import add_descents
from ksmbench.engine.machine import (
    BEFORE,
    DUE,
    EVENT,
    FRAMES_NS,
    JIFFY_NS,
    LISTED,
    LISTED_TIMES,
    NEXT_LOOK,
    NEXT_SAMPLE,
    NOW,
    PERIOD,
    PHASE,
    SAMPLE,
    SLEPT_NS,
    TIME_NS,
    UNTIL,
    Machine,
    Vector,
    f64,
    i64,
)
from ksmbench.engine.parts import part
from ksmbench.engine.pricing import add_prices, price_batch
from ksmbench.jit import Integer

NEVER = (1 << 63) - 1
END_OF_TIME = 1 << 62  # ns; later times leave no room for a sleep in an int64

# phases of ksmd
IDLE = 0  # waits until there is something to do
RUNNING = 1
SLEEPING = 2

# what `next_step` returns
END = 0
DO_EVENT = 1
DO_BATCH = 2
DO_SAMPLE = 3
DO_LOOK = 4


@part
def sleep_end(start: Integer, sleep_ns: Integer, jiffy_ns: Integer) -> Integer:
    """When a sleep of `sleep_ns` from `start` ends: on a jiffy, one later than asked, as the kernel's timers do."""
    if jiffy_ns == 0:
        return start + sleep_ns
    if sleep_ns == 0:
        return start
    return (start // jiffy_ns + 1 + (sleep_ns + jiffy_ns - 1) // jiffy_ns) * jiffy_ns


@part
def _advance(m: Vector, frames: Integer, time: Integer) -> None:
    passed = float(time - m[NOW])
    f64(m, FRAMES_NS)[0] += float(frames) * passed
    f64(m, FRAMES_NS)[1] += float(m[Counter.DEAD_PAGES]) * passed
    m[NOW] = time


@part
def next_step(m: Vector, ready: Integer, sleep_ns: Integer, frames: Integer) -> Integer:
    """Advance to what comes next: DO_EVENT, DO_LOOK, DO_BATCH, DO_SAMPLE or END; NOW is its time.

    `ready`: a space is registered and `run` is 1. `sleep_ns`: how long ksmd sleeps, as set at this moment. `frames`:
    in use since NOW.
    """
    times = i64(m, TIME_NS)
    until = m[UNTIL]
    while True:
        event = times[m[EVENT]] if m[EVENT] < len(times) else NEVER
        if m[PHASE] != IDLE:
            due = m[DUE]
        else:
            due = m[NOW] if ready else NEVER
        sample, look = m[NEXT_SAMPLE], m[NEXT_LOOK]
        if until == NEVER and (due == NEVER and event == NEVER and look != m[NOW] or m[NOW] > END_OF_TIME):
            return END  # nothing will ever happen again, or nothing that can be counted
        if event <= due and event <= sample and event <= look and event <= until:
            _advance(m, frames, event)
            return DO_EVENT
        if look <= due and look <= sample and look <= until:
            _advance(m, frames, look)
            return DO_LOOK
        if due <= sample and due <= until:
            _advance(m, frames, due)
            if m[PHASE] == RUNNING:
                if ready:
                    m[PHASE] = SLEEPING
                    m[SLEPT_NS] = sleep_ns
                    m[DUE] = sleep_end(due, sleep_ns, m[JIFFY_NS])
                else:
                    m[PHASE] = IDLE
                continue
            if ready:
                return DO_BATCH
            m[PHASE] = IDLE
            continue
        if sample <= until:
            _advance(m, frames, sample)
            return DO_SAMPLE
        _advance(m, frames, until)
        return END


@part
def end_batch(m: Vector) -> None:
    """Charge the batch that has just been run, against BEFORE: its CPU time passes from NOW on."""
    spent = price_batch(m)
    m[Counter.CPU_NS] += spent
    m[PHASE] = RUNNING
    m[DUE] = m[NOW] + spent


@part
def sleep_changed(m: Vector, sleep_ns: Integer) -> None:
    """A store to how long ksmd sleeps: a value that differs ends the sleep that is going on."""
    if m[PHASE] == SLEEPING and sleep_ns != m[SLEPT_NS]:
        m[DUE] = m[NOW]


@part
def after_sample(m: Vector) -> None:
    """Set the time of the next sample."""
    m[SAMPLE] += 1
    if m[LISTED]:
        times = i64(m, LISTED_TIMES)
        m[NEXT_SAMPLE] = times[m[SAMPLE]] if m[SAMPLE] < len(times) else NEVER
    elif m[PERIOD] > 0 and m[NEXT_SAMPLE] <= NEVER - m[PERIOD]:
        m[NEXT_SAMPLE] += m[PERIOD]
    else:
        m[NEXT_SAMPLE] = NEVER


def add_clock(
    machine: Machine,
    start_ns: int,
    until_ns: int,
    *,
    period_ns: int = 0,
    listed: npt.NDArray[np.int64] | None = None,
    weights: npt.NDArray[np.int64] | None = None,
    hz: int = 0,
) -> None:
    """A clock at `start_ns`: ksmd starts then; `hz` 0 makes sleeps exact, no `weights` make scanning take no time."""
    m = machine.m
    m[NOW] = start_ns
    m[PHASE] = IDLE
    m[UNTIL] = until_ns
    m[PERIOD] = period_ns
    m[NEXT_SAMPLE] = start_ns if period_ns else NEVER
    m[NEXT_LOOK] = NEVER
    m[JIFFY_NS] = 1_000_000_000 // hz if hz else 0
    machine[LISTED_TIMES] = np.zeros(0, np.int64) if listed is None else listed
    if listed is not None:
        m[LISTED] = 1
        m[NEXT_SAMPLE] = listed[0] if len(listed) else NEVER
    add_prices(machine, weights)
    machine[FRAMES_NS] = np.zeros(2)
    add_descents(machine)
    machine[BEFORE] = np.zeros(N_COUNTERS, np.int64)
