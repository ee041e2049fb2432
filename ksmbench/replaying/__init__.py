"""`ksmbench.replay`: one trace through one design, with its bounds beside it."""

import os
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from ksmbench import designs
from ksmbench.designs.design import Design, Given
from ksmbench.engine.cost import CostProfile, find_profile
from ksmbench.engine.drive import Progress, Record, Timing
from ksmbench.engine.machine import Machine
from ksmbench.engine.plan import MAX_MEMORY, Plan, make_plan
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.metrics.sharing import LEAST_LOOKS, Potential, Sharing, Watch, measure, potential
from ksmbench.metrics.summary import Unsampled, summarize
from ksmbench.policies import FIXED, Policy, begun, find_policy
from ksmbench.provenance import provenance
from ksmbench.replaying.policing import host_memory_of, make_turner, turned_trace
from ksmbench.replaying.tables import samples_frame, spaces_frame, with_end
from ksmbench.replaying.timing import Sample, make_timing
from ksmbench.result import Result
from ksmbench.specs import BOUNDS
from ksmbench.trace.columns import Trace
from ksmbench.trace.store import open_trace
from ksmbench.trace.tunes import without_tunes

_BYTES_PER_SPACE = 120  # per sample, where spaces are asked for
_MAX_WATCHED_SAMPLES = 20_000  # each is a way out of the compiled loop


def _observed(timing: Timing, trace: Trace, plan: Plan, found: list[Sharing]) -> Timing:
    # The same with looks at the state, where it is sampled by time, and a last one that puts a `Sharing` into `found`.
    watch = None
    if timing.period_ns and not timing.settles and not timing.every_batch:
        n_samples = (timing.until_ns - timing.start_ns) // timing.period_ns
        watch = Watch(plan.n_entries, n_samples) if LEAST_LOOKS <= n_samples <= _MAX_WATCHED_SAMPLES else None

    def at_end(machine: Machine) -> None:
        found.append(measure(trace, plan, machine, watch))

    return replace(timing, look=watch.look if watch else None, at_end=at_end)


def _bounds(
    trace: Trace,
    plan: Plan,
    design: Design,
    record: Record,
    *,
    check: bool,
    looks: bool,
    domains: Mapping[str, str] | None,
) -> tuple[dict[str, Record], Potential | None]:
    # `none` and `oracle` at the times of the record's rows, and where it `looks` what could be merged at the end.
    times = np.ascontiguousarray(with_end(record)[:, 0])
    still = Timing(start_ns=record.start_ns, until_ns=record.end_ns, listed=times)
    possible: list[Potential] = []

    def look_at_none(machine: Machine) -> None:
        possible.append(potential(trace, plan, machine, domains))

    bounds: dict[str, Record] = {}
    for name in BOUNDS:
        looked = replace(still, at_end=look_at_none) if looks and name == "none" else still
        same = design.name == name
        bounds[name] = record if same else designs.DESIGNS[name].run(trace, plan, {}, looked, check=check)
    return bounds, possible[0] if possible else None


def _summary(trace: Trace, design: Design, record: Record, bounds: dict[str, Record]) -> dict[str, float | int | None]:
    rows = with_end(record)
    frames = {name: samples_frame(designs.DESIGNS[name], with_end(of)[: len(rows)]) for name, of in bounds.items()}
    return summarize(
        samples_frame(design, rows),
        frames["none"],
        frames["oracle"],
        page_size=trace.page_size,
        mean_frames=record.mean_frames,
        mean_frames_none=bounds["none"].mean_frames,
        metadata_bytes=record.metadata_bytes,
        start_ns=record.start_ns,
        until_ns=record.end_ns,
        unsampled=Unsampled(
            dead_ns=record.dead_ns,
            longest_delay_ns=record.longest_delay_ns,
            copies_at_exit=record.copies_at_exit,
            copies_at_stop=record.copies_at_stop,
            peak_frames=record.peak_frames,
        ),
    )


def replay(
    trace: Trace | str | os.PathLike[str],
    design: str = designs.DEFAULT,
    *,
    sample: Sample = 1.0,
    cost: str | CostProfile | None = None,
    until: float | None = None,
    mergeable: str = "as-is",
    ignore_tune: bool | Collection[str] = False,
    policy: str | Policy = FIXED,
    host_memory: int | None = None,
    max_memory: int = MAX_MEMORY,
    check: bool = False,
    sharing: bool | Mapping[str, str] = False,
    progress: Progress | None = None,
    **settings: Given,
) -> Result:
    """Replay `trace` through `design`, and through `none` and `oracle` beside it.

    Parameters
    ----------
    trace
        A `Trace`, or the path or URL of one.
    design
        A name of `ksmbench.DESIGNS`, or any release of Linux, as "ksm-6.18".
    sample
        "batch" (a row after every batch of ksmd), seconds of trace time between rows, or "end".
    cost
        What scanning costs: a profile, its name or file, or "none" (it takes no time); by default the one shipped.
    until
        Seconds of trace time at which to end; by default the last event's, for a snapshot when the counters settle.
    mergeable
        "as-is" (as the trace's madvise and prctl say), "all" (as if every eligible mapping had asked), or a pattern of
        names of the spaces that had.
    ignore_tune
        Leave out the changes of settings that the trace recorded: all, or those of these settings.
    policy
        Who turns the settings during the replay, one of `ksmbench.policies.POLICIES`; by default nobody.
    host_memory
        Bytes of memory of the host that a policy sees; by default as much as the trace's host had.
    max_memory
        Bytes that the replay may need.
    check
        Recount every structure of the engine and of the design at the end.
    sharing
        Also who shares what (`ksmbench.metrics.sharing`); security domains by name, each a pattern of space names.
    progress
        Is told the part done, 0 to 1.
    **settings
        The design's, under the names of the files in /sys/kernel/mm/ksm and with the kernel's defaults.

    Raises
    ------
    TraceError
        The trace is broken, or too large for `max_memory`.
    UsageError
        What is asked for cannot be meant: no such design, setting, value or policy; a replay that would never end.
    KsmbenchError
        A recount differs.
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace, max_memory=max_memory)
    chosen = designs.find(design)
    turns = find_policy(policy)
    is_fixed = turns.name == FIXED
    complete = designs.complete_settings(chosen, settings)
    complete |= begun(turns, chosen, {name: complete[name] for name in settings})
    codes = designs.encoded(chosen, complete)
    profile = find_profile(cost)
    if not isinstance(ignore_tune, bool):
        ignore_tune = sorted({ignore_tune} if isinstance(ignore_tune, str) else ignore_tune)
        opened = without_tunes(opened, ignore_tune)
    policed = turned_trace(opened, turns)
    memory = host_memory_of(turns, host_memory, opened)
    plan = make_plan(policed, mergeable=mergeable, max_memory=max_memory, bytes_per_entry=chosen.bytes_per_entry)
    timing = make_timing(plan, codes, sample, profile, until, max_memory, ignore_tune=ignore_tune is True)
    timing = replace(timing, turner=make_turner(turns, memory, policed, plan.start_ns))
    found: list[Sharing] = []
    if sharing is not False:
        timing = _observed(timing, policed, plan, found)
    record = chosen.run(policed, plan, codes, timing, check=check, progress=progress)
    if record.wrong:
        raise KsmbenchError(f"{chosen.name}: a recount differs: {'; '.join(record.wrong[:5])}")

    rows = with_end(record)
    domains = None if isinstance(sharing, bool) else sharing
    bounds, possible = _bounds(opened, plan, chosen, record, check=check, looks=bool(found), domains=domains)
    shown = record.rows if sample == "batch" else rows
    about_policy = {"policy": turns.name, "host_memory": memory, "refused_stores": record.refused_stores}

    def make_spaces() -> pl.DataFrame:
        rows_wanted = len(record.rows) * plan.n_spaces
        if rows_wanted * _BYTES_PER_SPACE > max_memory:
            raise UsageError(
                f"{rows_wanted:,} rows about single spaces need {rows_wanted * _BYTES_PER_SPACE / 2**30:.1f} GiB, more "
                f"than --max-memory {max_memory / 2**30:.1f} GiB; sample less often or raise it"
            )
        wide = replace(timing, until_ns=record.end_ns, with_spaces=True, look=None, at_end=None)
        return spaces_frame(chosen, chosen.run(policed, plan, codes, wide).spaces)

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
        }
        | ({} if is_fixed else about_policy),
        samples=samples_frame(chosen, shown, None if is_fixed else record.shown),
        summary=_summary(opened, chosen, record, bounds),
        provenance=provenance(opened, profile),
        make_spaces=make_spaces,
        stores=record.stores,
        sharing=replace(found[0], potential=possible) if found and possible else None,
    )
