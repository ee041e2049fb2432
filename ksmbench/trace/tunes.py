"""The `tune` events of a trace, and the trace without some of them."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind


def tuned(trace: Trace) -> frozenset[str]:
    """The settings that `trace` changes."""
    events = trace.events
    rows = np.unique(events.name[(events.kind == Kind.TUNE) & (events.name >= 0)])
    return frozenset(trace.names[row] for row in rows)


def without_tunes(trace: Trace, names: Collection[str]) -> Trace:
    """`trace` with every change of the settings `names` as a mark, which does nothing: times and rows stay."""
    if not tuned(trace) & set(names):
        return trace
    events = trace.events
    rows = [row for row, name in enumerate(trace.names) if name in names]
    gone = (events.kind == Kind.TUNE) & np.isin(events.name, rows)
    kind = np.where(gone, np.uint8(Kind.MARK), events.kind).astype(np.uint8)
    kind.setflags(write=False)
    return replace(trace, events=events._replace(kind=kind))
