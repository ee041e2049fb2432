"""Plays a trace on memory without any design: what is mapped, present and shared by fork at some instant.

This is the truth that `ksmbench info` describes. Pages are held as entries (`ksmbench.trace.universe`): memory follows
the pages that occur. What is odd but possible changes nothing and is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ksmbench.trace import rules
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.universe import find_universe
from ksmbench.trace.walk_verbs import ABSENT, Odd, Script, State, play

_BYTES_PER_ENTRY = 80  # of the state and of the arrays that describe it
_BYTES_PER_EVENT = 120

Progress = Callable[[float], None]  # told the part that is done, from 0 to 1


@dataclass(frozen=True)
class Walk:
    """A trace ready to be walked, and the state before its first event."""

    script: Script
    state: State


def _check_fit(trace: Trace, sizes: list[int], max_memory: int) -> None:
    n_entries, n_events = sum(sizes), len(trace.events.kind)
    n_bytes = n_entries * _BYTES_PER_ENTRY + n_events * _BYTES_PER_EVENT
    if n_bytes > max_memory or n_entries >= 1 << 31:
        space = max(range(len(sizes)), key=sizes.__getitem__)
        rules.refuse(
            str(trace.path / "events.parquet") if trace.path else "events",
            f"{n_entries:,} pages can be present (most in space {space}), which takes {n_bytes / 2**30:,.1f} GiB of "
            f"memory where {max_memory / 2**30:,.1f} GiB may be used; read it on a larger machine or record less",
            "E09",
        )


def make_walk(trace: Trace, max_memory: int) -> Walk:
    """Prepare; raises `TraceError` (E09) where the pages that can be present need more than `max_memory` bytes."""
    events, n_spaces = trace.events, len(trace.spaces)
    # A read fills nothing, yet whether it meets a mapping is asked: it gets an entry at its edges, as an advice does.
    asked = np.where(events.kind == Kind.READ, np.uint8(Kind.MADVISE), events.kind)
    universe = find_universe(events._replace(kind=asked), n_spaces)
    sizes = [int(size) for size in universe.size]
    _check_fit(trace, sizes, max_memory)
    n_entries = sum(sizes)
    begin = np.concatenate([[0], np.cumsum(universe.size)]).astype(np.int64)
    offset = begin[events.space]
    source = np.where(np.isin(events.kind, (Kind.SHARE, Kind.FORK)), events.value, events.space)
    pairs, gaps = universe.pairs.copy(), universe.gaps.copy()
    for runs, run_first in ((pairs, universe.pair_first), (gaps, universe.gap_first)):
        owner = np.repeat(np.arange(len(events.kind)), np.diff(run_first))
        runs[:, 0] += begin[events.space[owner]]
        runs[:, 1] += begin[source[owner]]
    script = Script(
        events.kind,
        events.space,
        events.value,
        universe.first + offset,
        universe.last + offset,
        universe.target_first + offset,
        universe.target_last + offset,
        universe.pair_first,
        pairs,
        universe.gap_first,
        gaps,
        begin,
    )
    alive = np.ones(n_spaces, np.uint8)
    alive[events.value[events.kind == Kind.FORK]] = 0
    n_frames = n_entries + 1  # a copy is made before the old frame goes
    state = State(
        frame=np.full(n_entries, ABSENT, np.int32),
        flags=np.zeros(n_entries, np.uint8),
        content=np.zeros(n_frames, np.int32),
        mapcount=np.zeros(n_frames, np.int32),
        free=np.arange(n_frames - 1, -1, -1, dtype=np.int32),
        scalars=np.array([n_frames], np.int64),
        merge_any=np.zeros(n_spaces, np.uint8),
        alive=alive,
        odd=np.zeros(len(Odd), np.int64),
    )
    return Walk(script, state)


def walk(prepared: Walk, start: int, stop: int, progress: Progress | None = None) -> None:
    """Apply the events `start` to `stop` to the state; `progress` is told the part of all events that is done.

    Python looks up now and then, so that Ctrl-C is heard whatever a trace asks for.
    """
    frozen: list[Any] = []
    for column in prepared.script:
        view = column.view()
        view.setflags(write=False)  # numba types read-only arrays apart: all are, so that kernels are compiled once
        frozen.append(view)
    script = Script(*frozen)
    at = start
    while at < stop:
        at = int(play(prepared.state, script, at, stop))
        if progress is not None:
            progress(at / len(script.kind))
