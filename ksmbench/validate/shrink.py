"""The shortest list of events that still differs: delta debugging over the rows of a trace."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Events, Trace
from ksmbench.trace.schema import Kind

LIMIT_S = 90.0

# The time of the first difference in ns, or None where there is none or the trace cannot be played.
Differs = Callable[[Trace], int | None]


def _only(trace: Trace, rows: npt.NDArray[np.int64], end_ns: int) -> Trace:
    # Some events up to a time, with a mark there: a replay lasts until its last event.
    events = trace.events
    kept = rows[(events.time_ns[rows] <= end_ns) & (events.kind[rows] != Kind.MARK)]
    columns = {name: column[kept] for name, column in events._asdict().items()}
    mark = {name: 0 for name in columns} | {"time_ns": end_ns, "kind": int(Kind.MARK), "name": -1}
    longer = {name: np.append(column, np.array(mark[name], column.dtype)) for name, column in columns.items()}
    return replace(trace, events=Events(**longer))


def _without_unused_spaces(trace: Trace) -> Trace:
    events = trace.events
    forks = events.kind == Kind.FORK
    acting = ~np.isin(events.kind, (Kind.TUNE, Kind.MARK))
    used = np.union1d(events.space[acting], events.value[forks]).astype(np.int64)
    used = used if len(used) else np.zeros(1, np.int64)  # tunes alone differ; they are told of space 0
    number = np.zeros(len(trace.spaces), np.int64)
    number[used] = np.arange(len(used))
    return replace(
        trace,
        spaces=tuple(trace.spaces[space] for space in used),
        events=events._replace(
            space=np.where(acting, number[events.space], 0).astype(np.int32),
            value=np.where(forks, number[np.where(forks, events.value, 0)], events.value),
        ),
    )


def _has_events(trace: Trace) -> bool:
    return bool((trace.events.kind != Kind.MARK).any())


def shrink(trace: Trace, differs: Differs, *, limit_s: float = LIMIT_S) -> Trace:
    """A trace with as few events of `trace` as still differ, as far as `limit_s` of search get.

    It has been seen to differ, and has events: a difference that comes and goes must not shrink to nothing.
    """
    deadline = time.monotonic() + limit_s
    end = differs(trace)
    if end is None:
        return trace
    seen = trace  # the shortest that differed
    rows = np.arange(len(trace.events.kind))
    piece = max(1, len(rows) // 2)
    while time.monotonic() < deadline:
        first, removed = 0, False
        while first < len(rows) and time.monotonic() < deadline:
            fewer = np.delete(rows, slice(first, first + piece))
            tried = _only(trace, fewer, end)
            found = differs(tried) if _has_events(tried) else None
            if found is None:
                first += piece
            else:
                seen, rows, end, removed = tried, fewer, min(end, found), True
                rows = rows[trace.events.time_ns[rows] <= end]
        if piece == 1 and not removed:
            break
        piece = max(1, piece // 2)
    short = _only(trace, rows, end)
    for shorter in (_without_unused_spaces(short), short):
        if _has_events(shorter) and differs(shorter) is not None:
            return shorter
    return seen
