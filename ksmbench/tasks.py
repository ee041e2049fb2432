"""What a comparison and a sweep consist of: traces by their labels, replays to do, and tables of what they gave."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ksmbench.engine.counters import REVIEW_COUNTERS, WORK_COUNTERS
from ksmbench.errors import UsageError
from ksmbench.result import KEYS
from ksmbench.specs import Spec
from ksmbench.trace.columns import Trace
from ksmbench.trace.remote import name_of
from ksmbench.trace.store import open_trace

AnyTrace = Trace | str | os.PathLike[str]
_BOUND_SAMPLES = 4000  # where the designs are sampled by batch, which the bounds do not have


def _short_name(trace: Trace) -> str | None:
    # What a trace is called: its folder, or the last part of its URL; None for one that was made in memory.
    return trace.path.resolve().name if trace.path else name_of(trace.url) if trace.url else None


def place(trace: Trace) -> str | None:
    """Where a trace is: its folder or its URL; None for one that was made in memory."""
    return str(trace.path) if trace.path else trace.url


def open_traces(traces: AnyTrace | Sequence[AnyTrace]) -> dict[str, Trace]:
    """Traces by a short name: the folder's, or its whole path where two folders are called alike."""
    given = [traces] if isinstance(traces, Trace | str | os.PathLike) else list(traces)
    if not given:
        raise UsageError("nothing to compare on; name at least one trace")
    opened = [trace if isinstance(trace, Trace) else open_trace(trace) for trace in given]
    names = [_short_name(trace) or f"trace-{i + 1}" for i, trace in enumerate(opened)]
    paths = [place(trace) or name for trace, name in zip(opened, names, strict=True)]
    labels = [path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f'the trace "{label}" is named twice; once is enough')
    return dict(zip(labels, opened, strict=True))


@dataclass(frozen=True)
class Task:
    """One replay: a trace by its label, a design with its settings, and how it is sampled."""

    label: str  # of the trace
    spec: Spec
    sample: str | float

    @property
    def key(self) -> tuple[str, str, str]:
        """What its rows lead with: KEYS."""
        return self.label, self.spec.design, self.spec.settings_text


def bound_sample(trace: Trace, sample: str | float) -> str | float:
    """How `none` and `oracle`, which have no batches, are sampled beside designs sampled by `sample`."""
    if sample != "batch":
        return sample
    times = trace.events.time_ns
    span = int(times[-1] - times[0]) if len(times) else 0
    return max(span / _BOUND_SAMPLES, 1e6) / 1e9


def stack(parts: Iterable[tuple[Task, pl.DataFrame]]) -> pl.DataFrame:
    """The samples of all replays under each other, led by KEYS.

    A design may have columns that others have not; those that all have come first.
    """
    stacked = pl.concat(
        (
            samples.select([pl.lit(value).alias(name) for name, value in zip(KEYS, task.key, strict=True)] + [pl.all()])
            for task, samples in parts
        ),
        how="diagonal",
    )
    more = [name for name in (*REVIEW_COUNTERS, *WORK_COUNTERS) if name in stacked.columns]
    return stacked.select(pl.exclude(more), *more) if more else stacked


def summary_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """One row per replay: KEYS and its summary."""
    frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
    return frame.with_columns(pl.col(pl.Null).cast(pl.Float64))
