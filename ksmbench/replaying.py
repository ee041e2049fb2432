"""`ksmbench.replay`: one trace through one design, with its bounds beside it."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ksmbench import designs
from ksmbench.designs.design import Design
from ksmbench.engine.clock import NEVER
from ksmbench.engine.cost import CostProfile, find_profile
from ksmbench.engine.counters import SAMPLED, SPACE_COUNTERS
from ksmbench.engine.drive import MAX_SAMPLES, Progress, Record, Timing
from ksmbench.engine.plan import MAX_MEMORY, Plan, make_plan
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.metrics.summary import summarize
from ksmbench.provenance import provenance
from ksmbench.result import Result
from ksmbench.trace.columns import Trace
from ksmbench.trace.store import open_trace

Sample = str | float | int
_END_OF_TIME = 1 << 62


def _until_ns(until: float | None, plan: Plan) -> int:
    if until is None:
        return NEVER if plan.is_snapshot else plan.end_ns
    if not isinstance(until, int | float) or not 0 <= until <= _END_OF_TIME / 1e9:
        raise UsageError(f"until={until}: must be a number of seconds of trace time, 0 or more")
    ns = round(until * 1e9)
    if ns < plan.start_ns:
        raise UsageError(f"until={until}: the trace begins at {plan.start_ns / 1e9} s")
    return ns


def _timing(
    plan: Plan, settings: dict[str, int], sample: Sample, profile: CostProfile | None, until: float | None, **more: Any
) -> Timing:
    until_ns = _until_ns(until, plan)
    span = until_ns - plan.start_ns
    period = 0
    if sample == "batch":
        pace = settings.get("sleep_millisecs", 0) * 1_000_000
        if until_ns != NEVER and pace and span // pace > MAX_SAMPLES:
            raise UsageError(f"{span // pace:,} batches to sample, more than {MAX_SAMPLES:,}; end earlier with --until")
    elif sample != "end":
        if isinstance(sample, str | bool) or not 1e-9 <= sample <= _END_OF_TIME / 1e9:
            raise UsageError(f'sample={sample}: must be "batch", "end" or a number of seconds above 0')
        period = round(sample * 1e9)
        if until_ns != NEVER and span // period > MAX_SAMPLES:
            raise UsageError(f"{span // period:,} samples, more than {MAX_SAMPLES:,}; sample less often")
    return Timing(
        start_ns=plan.start_ns,
        until_ns=until_ns,
        period_ns=period,
        every_batch=sample == "batch",
        profile=profile,
        **more,
    )


def _frame(design: Design, rows: npt.NDArray[np.int64]) -> pl.DataFrame:
    columns = {"time_ns": rows[:, 0]} | {name: rows[:, 1 + i] for i, name in enumerate(SAMPLED)}
    frame = pl.DataFrame({name: np.ascontiguousarray(column) for name, column in columns.items()})
    missing = [name for name in SAMPLED if name not in design.counters]
    return frame.with_columns(pl.lit(None, pl.Int64).alias(name) for name in missing).select(list(columns))


def _spaces_frame(rows: npt.NDArray[np.int64]) -> pl.DataFrame:
    names = ("time_ns", "space", *SPACE_COUNTERS)
    frame = pl.DataFrame({name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate(names)})
    return frame.with_columns(pl.col("space").cast(pl.UInt32))


def _with_end(record: Record) -> npt.NDArray[np.int64]:
    # The rows, and one for the end where none stands for it: an event after the last batch may have changed something.
    if len(record.rows) and np.array_equal(record.rows[-1], record.last):
        return record.rows
    return np.vstack([record.rows, record.last])


def replay(
    trace: Trace | str | os.PathLike[str],
    design: str = designs.NEWEST_KSM,
    *,
    sample: Sample = 1.0,
    cost: str | CostProfile | None = None,
    until: float | None = None,
    mergeable: str = "as-is",
    ignore_tune: bool = False,
    max_memory: int = MAX_MEMORY,
    check: bool = False,
    progress: Progress | None = None,
    **settings: int,
) -> Result:
    """Replay `trace` (a `Trace` or a path) through `design` with the kernel's `settings`.

    `sample`: "batch" (a row after every batch of ksmd), seconds of trace time between rows, or "end". `cost`: a cost
    profile, its name or file, or "none" (scanning takes no time). `until`: seconds of trace time; by default the last
    event's, or for a snapshot until the counters settle. `mergeable`: "as-is", "all" or a pattern of space names.
    `max_memory`: bytes. `check` recounts every structure at the end. `progress` is told the part done, 0 to 1.

    Raises `TraceError` for a broken or too large trace, `UsageError` for what cannot be meant, `KsmbenchError` where
    a recount differs.
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    chosen = designs.find(design)
    complete = designs.complete_settings(chosen, settings)
    profile = find_profile(cost)
    plan = make_plan(opened, mergeable=mergeable, max_memory=max_memory)
    timing = _timing(plan, complete, sample, profile, until, ignore_tune=ignore_tune)
    record = chosen.run(opened, plan, complete, timing, check=check, progress=progress)
    if record.wrong:
        raise KsmbenchError(f"{chosen.name}: a recount differs: {'; '.join(record.wrong[:5])}")

    rows = _with_end(record)
    looks = np.ascontiguousarray(rows[:, 0])
    still = Timing(start_ns=plan.start_ns, until_ns=record.end_ns, listed=looks)
    bounds: dict[str, Record] = {}
    for name in ("none", "oracle"):
        same = chosen.name == name
        bounds[name] = record if same else designs.DESIGNS[name].run(opened, plan, {}, still, check=check)
    frames = {name: _frame(designs.DESIGNS[name], _with_end(bound)[: len(rows)]) for name, bound in bounds.items()}
    summary = summarize(
        _frame(chosen, rows),
        frames["none"],
        frames["oracle"],
        page_size=opened.page_size,
        mean_frames=record.mean_frames,
        mean_frames_none=bounds["none"].mean_frames,
        metadata_bytes=record.metadata_bytes,
        start_ns=record.start_ns,
        until_ns=record.end_ns,
    )
    shown = record.rows if sample == "batch" else rows

    def make_spaces() -> pl.DataFrame:
        wide = _timing(plan, complete, sample, profile, record.end_ns / 1e9, ignore_tune=ignore_tune, with_spaces=True)
        return _spaces_frame(chosen.run(opened, plan, complete, wide).spaces)

    return Result(
        design=chosen.name,
        settings=complete,
        options={
            "sample": sample,
            "cost": profile.name if profile else "none",
            "until": record.end_ns / 1e9,
            "mergeable": mergeable,
            "ignore_tune": ignore_tune,
            "refused_tunes": record.refused_tunes,
        },
        samples=_frame(chosen, shown),
        summary=summary,
        provenance=provenance(opened, profile),
        make_spaces=make_spaces,
    )
