"""The replay of a trace's memory without anything that scans it: what `none` and `oracle` stand on."""

from typing import Any

from numba import types

from ksmbench.engine.check import check_memory
from ksmbench.engine.clock import DO_EVENT, END, after_sample, next_step
from ksmbench.engine.columns import pinned, vector_type
from ksmbench.engine.counters import Counter
from ksmbench.engine.drive import Progress, Record, Timing, drive
from ksmbench.engine.machine import (
    DISTINCT,
    EVENT,
    FIRST,
    LAST,
    MIXED_CONTENTS,
    PLAIN_FRAMES,
    REFS,
    SHARED_CONTENTS,
    Machine,
    Vector,
    i32,
    i64,
)
from ksmbench.engine.memory import add_memory
from ksmbench.engine.parts import part
from ksmbench.engine.plan import Plan
from ksmbench.engine.samples import DONE, FULL, PAUSE, is_full, take_sample
from ksmbench.engine.verbs import apply
from ksmbench.jit import Integer, compiled_beside, is_cold, kernel
from ksmbench.trace.columns import Trace

_PAUSE_AFTER = 2_000_000  # entries touched between two moments for Python


@part
def _merged_frames(m: Vector) -> Integer:
    # What would be in use with everything mergeable merged (`memory.count_frame`).
    return m[DISTINCT] + m[PLAIN_FRAMES] - m[MIXED_CONTENTS]


@part
def _take_merged_sample(m: Vector) -> None:
    # The counters as the oracle's memory would have them, for the length of a sample.
    anon, frames, ksm = m[Counter.PAGES_ANON], m[Counter.FRAMES], m[Counter.FRAMES_KSM]
    m[Counter.PAGES_ANON] = anon - i32(m, REFS)[0]
    m[Counter.FRAMES] = _merged_frames(m)
    m[Counter.FRAMES_KSM] = m[SHARED_CONTENTS]
    take_sample(m)
    m[Counter.PAGES_ANON], m[Counter.FRAMES], m[Counter.FRAMES_KSM] = anon, frames, ksm


@kernel
def _still_loop(vector: Vector, merged: Integer) -> Integer:
    m = pinned(vector)
    first, last = i64(m, FIRST), i64(m, LAST)
    work = 0
    while True:
        if is_full(m, 0):
            return FULL
        if work > _PAUSE_AFTER:
            return PAUSE
        step = next_step(m, False, 0, _merged_frames(m) if merged else m[Counter.FRAMES])
        if step == DO_EVENT:
            i = m[EVENT]
            m[EVENT] = i + 1
            work += 1 + last[i] - first[i]
            apply(m, i)
        elif merged:
            _take_merged_sample(m)
        else:
            take_sample(m)
        if step == END:
            return DONE
        if step != DO_EVENT:
            after_sample(m)


def compile_still() -> None:
    """Compile the loop, and with it the events and memory, into the cache."""
    _still_loop.compile((vector_type, types.int64))  # type: ignore[attr-defined]


def compile_beside_still(name: str, loop: Any, signature: tuple[Any, ...]) -> None:
    """Compile `loop`, and on another core `compile_still`, where no kernel called `name` is in the cache."""
    if is_cold(name):
        with compiled_beside(f"from {__name__} import compile_still; compile_still()"):
            loop.compile(signature)


def replay_still(
    trace: Trace,
    plan: Plan,
    settings: dict[str, int],
    timing: Timing,
    *,
    merged: bool,
    check: bool = False,
    progress: Progress | None = None,
) -> Record:
    """Replay `plan` without scanning; `merged` counts as if everything mergeable were merged at once."""
    machine = Machine()
    plan.load(machine)
    add_memory(machine, plan.n_entries, plan.n_mms, plan.n_folios, len(trace.contents.lcp) if merged else 0)

    def step() -> int:
        return int(_still_loop(machine.m, int(merged)))

    record = drive(step, machine, timing, progress=progress)
    if check:
        record.wrong = check_memory(machine)
    return record
