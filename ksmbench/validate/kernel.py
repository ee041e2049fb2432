"""A trace on the running kernel: real processes play the events, ksmd is stepped batch by batch.

The result has the form of a replay's samples (`ksmbench.replay`, sample "batch", cost "none"), so that the two can be
compared row by row.
"""

import mmap
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from ksmbench.engine.counters import SPACE_COUNTERS
from ksmbench.errors import KsmbenchError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import RANGE_KINDS, Kind
from ksmbench.validate.contents import shared_pages
from ksmbench.validate.frames import count_frames
from ksmbench.validate.player import Players, drain_lru
from ksmbench.validate.sysfs import KsmSession, store

_HUGE = 512  # pages
_FREE_PAGES = 1 << 28  # 1 TiB: above what a small process maps low, below its program, libraries and stack
_FREE_END = 5 << 32  # 80 TiB


@dataclass(frozen=True)
class Played:
    """What the kernel did: `samples` one row per batch, `spaces` one per batch and living space."""

    samples: pl.DataFrame
    spaces: pl.DataFrame
    ksmd_cpu_ns: list[int]  # per batch


def _apply_tunes(trace: Trace, first: int, last: int) -> None:
    events = trace.events
    for row in range(first, last):
        if events.kind[row] == Kind.TUNE:
            name = trace.names[events.name[row]]
            if name in ("run", "sleep_millisecs"):
                raise KsmbenchError(f"row {row}: a change of {name} cannot be played step by step")
            try:
                store(name, int(events.value[row]))
            except OSError:
                continue  # refused, as in a replay


def relocated(trace: Trace) -> Trace:
    """`trace` with all its pages moved to where a process has nothing else; order and huge-page alignment stay."""
    events = trace.events
    ranged = np.isin(events.kind, [int(kind) for kind in RANGE_KINDS])
    moves = events.kind == Kind.MOVE
    if not ranged.any():
        return trace
    lowest = int(min(events.page[ranged].min(), events.value[moves].min(initial=1 << 52)))
    highest = int(
        max((events.page + events.n_pages)[ranged].max(), (events.value + events.n_pages)[moves].max(initial=0))
    )
    shift = _FREE_PAGES - lowest // _HUGE * _HUGE
    if highest + shift > _FREE_END:
        raise KsmbenchError(f"the trace spans {highest - lowest:,} pages; no process here has room for that")
    page = np.where(ranged, events.page + shift, events.page)
    value = np.where(moves, events.value + shift, events.value)
    return replace(trace, events=events._replace(page=page, value=value))


def play_on_kernel(
    trace: Trace,
    *,
    n_batches: int,
    sleep_millisecs: int = 20,
    frames: bool = False,
    pages: mmap.mmap | None = None,
    **settings: int,
) -> Played:
    """Play `trace` on this host's kernel and step ksmd `n_batches` times.

    Batch k sees the events up to k times `sleep_millisecs` after the first; there must be a registered space from then
    on to the end, as ksmd is stepped through its sleep. `frames` adds pages_anon, frames and frames_ksm, read from the
    page tables after every batch. `pages` holds the contents' bytes in their order; without it they are made up. Needs
    root; raises `KsmbenchError` with a sentence where something is missing.
    """
    trace = relocated(trace)
    events = trace.events
    start = int(events.time_ns[0])
    rows: list[dict[str, Any]] = []
    space_rows: list[dict[str, int]] = []
    cpu: list[int] = []
    own_pages = shared_pages(trace.contents, trace.page_size) if pages is None else pages
    with KsmSession(settings) as ksm, Players(trace, own_pages) as players:
        done = 0
        for batch in range(n_batches):
            time_ns = start + batch * sleep_millisecs * 1_000_000
            upto = int(np.searchsorted(events.time_ns, time_ns, side="right"))
            if upto > done:
                players.play(done, upto)
                _apply_tunes(trace, done, upto)
                drain_lru()
                done = upto
            before = ksm.cpu_ns()
            if batch == 0:
                ksm.start()
            else:
                ksm.step()
            cpu.append(ksm.cpu_ns() - before)
            row = {"time_ns": time_ns} | ksm.counters()
            if frames:
                row |= count_frames(trace, players.pids())
            rows.append(row)
            for space, values in players.spaces().items():
                space_rows.append({"time_ns": time_ns, "space": space} | values)
    schema = {"time_ns": pl.Int64, "space": pl.UInt32} | dict.fromkeys(SPACE_COUNTERS, pl.Int64)
    return Played(pl.DataFrame(rows), pl.DataFrame(space_rows, schema=schema), cpu)
