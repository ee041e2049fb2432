"""`ksmbench.replay`: one trace through one design, with its bounds beside it."""

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ksmbench import designs
from ksmbench.designs.design import Design, Given
from ksmbench.engine.clock import END_OF_TIME, NEVER
from ksmbench.engine.cost import CostProfile, find_profile
from ksmbench.engine.counters import REVIEW_COUNTERS, ROW_COUNTERS, SAMPLED, SPACE_COUNTERS, WORK_COUNTERS
from ksmbench.engine.drive import MAX_SAMPLES, Progress, Record, Timing
from ksmbench.engine.machine import Machine
from ksmbench.engine.plan import MAX_MEMORY, Plan, make_plan
from ksmbench.engine.turning import SHOWN_SETTINGS, Decide, Reading, Turner
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.metrics.sharing import LEAST_LOOKS, Potential, Sharing, Watch, measure, potential
from ksmbench.metrics.summary import Unsampled, summarize
from ksmbench.policies import FIXED, Policy, Seen, begun, find_policy
from ksmbench.provenance import provenance
from ksmbench.result import Result
from ksmbench.trace.columns import Trace
from ksmbench.trace.store import open_trace
from ksmbench.trace.tunes import without_tunes

Sample = str | float | int
_BYTES_PER_SAMPLE = 1300  # at the peak, with those of the bounds
_BYTES_PER_SPACE = 120  # per sample, where spaces are asked for
_MAX_WATCHED_SAMPLES = 20_000  # each is a way out of the compiled loop
_MAX_BATCHES = 10**10  # of ksmd: seven years by default, half an hour of replaying at least


def _until_ns(until: float | None, plan: Plan) -> int:
    far = f"after {END_OF_TIME // 10**9:,} s of trace time, as far as a replay counts"
    if plan.start_ns > END_OF_TIME:
        raise UsageError(f"the trace begins {far}; let its times begin at 0")
    if until is None and plan.end_ns > END_OF_TIME:
        raise UsageError(f"the trace ends {far}; end earlier with --until")
    if until is None:
        return NEVER if plan.is_snapshot else plan.end_ns
    if isinstance(until, bool) or not isinstance(until, int | float) or not 0 <= until <= END_OF_TIME / 1e9:
        raise UsageError(f"until={until}: must be a number of seconds of trace time, 0 or more")
    ns = round(until * 1e9)
    if ns < plan.start_ns:
        raise UsageError(f"until={until}: the trace begins at {plan.start_ns / 1e9} s")
    return ns


def _check_samples(n: int, what: str, plan: Plan, max_memory: int) -> None:
    if n > MAX_SAMPLES:
        raise UsageError(f"{n:,} {what}, more than {MAX_SAMPLES:,}; sample less often, or end earlier with --until")
    needed = plan.needed_bytes + n * _BYTES_PER_SAMPLE
    if needed > max_memory:
        raise UsageError(
            f"{n:,} {what} need {needed / 2**30:.1f} GiB, more than --max-memory {max_memory / 2**30:.1f} GiB; "
            "sample less often or raise it"
        )


def _check_batches(settings: dict[str, int], profile: CostProfile | None, span_ns: int) -> int:
    # How many batches ksmd can run in that time at most; refuses what would not end.
    if "sleep_millisecs" not in settings:
        return 0
    sleep_ns = settings.get("sleep", 0) * 1000 or settings["sleep_millisecs"] * 1_000_000
    pace = sleep_ns + (profile.batch_ns if profile else 0)
    batches = int(span_ns / pace) if pace else 0
    if batches > _MAX_BATCHES:
        raise UsageError(f"{batches:,} batches of ksmd, more than {_MAX_BATCHES:,}; end earlier with --until")
    return batches


def _timing(
    plan: Plan,
    settings: dict[str, int],
    sample: Sample,
    profile: CostProfile | None,
    until: float | None,
    max_memory: int,
    **more: Any,
) -> Timing:
    until_ns = _until_ns(until, plan)
    span = 0 if until_ns == NEVER else until_ns - plan.start_ns
    batches = _check_batches(settings, profile, span)
    period = 0
    if sample == "batch":
        _check_samples(batches, "batches to sample", plan, max_memory)
    elif sample != "end":
        if isinstance(sample, str | bool) or not 1e-9 <= sample <= END_OF_TIME / 1e9:
            raise UsageError(f'sample={sample}: must be "batch", "end" or a number of seconds above 0')
        period = round(sample * 1e9)
        _check_samples(span // period, "samples", plan, max_memory)
    return Timing(
        start_ns=plan.start_ns,
        until_ns=until_ns,
        period_ns=period,
        every_batch=sample == "batch",
        profile=profile,
        **more,
    )


def _frame(design: Design, rows: npt.NDArray[np.int64], settings: npt.NDArray[np.int64] | None = None) -> pl.DataFrame:
    kept = {*SAMPLED, *(name for name in (*REVIEW_COUNTERS, *WORK_COUNTERS) if name in design.counters)}
    columns = {"time_ns": rows[:, 0]} | {name: rows[:, 1 + i] for i, name in enumerate(ROW_COUNTERS) if name in kept}
    if settings is not None:
        columns |= {name: settings[: len(rows), i] for i, name in enumerate(SHOWN_SETTINGS)}
    frame = pl.DataFrame({name: np.ascontiguousarray(column) for name, column in columns.items()})
    missing = [name for name in SAMPLED if name not in design.counters]
    return frame.with_columns(pl.lit(None, pl.Int64).alias(name) for name in missing).select(list(columns))


def _spaces_frame(design: Design, rows: npt.NDArray[np.int64]) -> pl.DataFrame:
    names = ("time_ns", "space", *SPACE_COUNTERS)
    frame = pl.DataFrame({name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate(names)})
    missing = [name for name in SPACE_COUNTERS if name not in design.space_counters]
    return frame.with_columns(pl.col("space").cast(pl.UInt32), *(pl.lit(None, pl.Int64).alias(n) for n in missing))


def _host_memory(policy: Policy, given: int | None, trace: Trace) -> int:
    # Bytes that the policy's host has: as given, or as the trace says of the host that it was recorded on.
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given <= 0):
        raise UsageError(f"host_memory={given}: must be a number of bytes above 0")
    host = trace.manifest.get("host")
    found = given or (host.get("memory_bytes") if isinstance(host, dict) else None)
    if isinstance(found, int) and found > 0:
        return found
    if policy.sees_memory:
        raise UsageError(
            f'policy "{policy.name}" decides by the memory of the host, which {trace.path or "the trace"} does not '
            "tell; say it with --host-memory, as in 64G"
        )
    return 0


def _turner(policy: Policy, host_memory: int, trace: Trace, start_ns: int) -> Turner | None:
    if not policy.period_s:
        return None

    def start() -> Decide:
        decide = policy.start()

        def decided(reading: Reading) -> dict[str, int]:
            return decide(
                Seen(
                    seconds=(reading.now_ns - start_ns) / 1e9,
                    host_memory=host_memory,
                    used=reading.frames * trace.page_size,
                    committed=reading.pages_anon * trace.page_size,
                    settings=reading.settings,
                )
            )

        return decided

    period_ns = round(policy.period_s * 1e9)
    first = start_ns if policy.acts_at_start else start_ns + period_ns
    return Turner(start=start, first_ns=first, period_ns=period_ns, names=trace.names)


def _turned_trace(trace: Trace, policy: Policy) -> Trace:
    # Without what somebody else stored to the policy's settings, and with a name for each of them.
    more = tuple(name for name in policy.turns if name not in trace.names)
    kept = without_tunes(trace, policy.turns)
    return replace(kept, names=trace.names + more) if more else kept


def _observed(timing: Timing, trace: Trace, plan: Plan, found: list[Sharing]) -> Timing:
    # The same with looks at the state, where it is sampled by time, and a last one that puts a `Sharing` into `found`.
    watch = None
    if timing.period_ns and not timing.settles and not timing.every_batch:
        n_samples = (timing.until_ns - timing.start_ns) // timing.period_ns
        watch = Watch(plan.n_entries, n_samples) if LEAST_LOOKS <= n_samples <= _MAX_WATCHED_SAMPLES else None

    def at_end(machine: Machine) -> None:
        found.append(measure(trace, plan, machine, watch))

    return replace(timing, look=watch.look if watch else None, at_end=at_end)


def _with_end(record: Record) -> npt.NDArray[np.int64]:
    # The rows, and one for the end where none stands for it: an event after the last batch may have changed something.
    if len(record.rows) and np.array_equal(record.rows[-1], record.last):
        return record.rows
    return np.vstack([record.rows, record.last])


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
    """Replay `trace` (a `Trace` or a path) through `design` with `settings`, named as the kernel's files.

    `sample`: "batch" (a row after every batch of ksmd), seconds of trace time between rows, or "end". `cost`: a cost
    profile, its name or file, or "none" (scanning takes no time). `until`: seconds of trace time; by default the last
    event's, or for a snapshot until the counters settle. `mergeable`: "as-is", "all" or a pattern of space names.
    `ignore_tune` leaves out the changes of settings that the trace recorded, all or those of the settings it names.
    `policy` names who turns the settings during the replay (`ksmbench.policies`), which sees a host of `host_memory`
    bytes, by default as large as the trace's; the samples then also have the columns `run`, `pages_to_scan` and
    `sleep_millisecs`. `max_memory`: bytes. `check` recounts every structure at the end.
    `sharing` adds who shares what (`ksmbench.metrics.sharing`), with domains by name and pattern of space names.
    `progress` is told the part done, 0 to 1.

    Raises `TraceError` for a broken or too large trace, `UsageError` for what cannot be meant, `KsmbenchError` where
    a recount differs.
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace, max_memory=max_memory)
    chosen = designs.find(design)
    turns = find_policy(policy)
    complete = designs.complete_settings(chosen, settings)
    complete |= begun(turns, chosen, {name: complete[name] for name in settings})
    codes = designs.encoded(chosen, complete)
    profile = find_profile(cost)
    if not isinstance(ignore_tune, bool):
        ignore_tune = sorted({ignore_tune} if isinstance(ignore_tune, str) else ignore_tune)
        opened = without_tunes(opened, ignore_tune)
    policed = _turned_trace(opened, turns)
    memory = _host_memory(turns, host_memory, opened)
    plan = make_plan(policed, mergeable=mergeable, max_memory=max_memory, bytes_per_entry=chosen.bytes_per_entry)
    timing = _timing(plan, codes, sample, profile, until, max_memory, ignore_tune=ignore_tune is True)
    timing = replace(timing, turner=_turner(turns, memory, policed, plan.start_ns))
    found: list[Sharing] = []
    if sharing is not False:
        timing = _observed(timing, policed, plan, found)
    record = chosen.run(policed, plan, codes, timing, check=check, progress=progress)
    if record.wrong:
        raise KsmbenchError(f"{chosen.name}: a recount differs: {'; '.join(record.wrong[:5])}")

    rows = _with_end(record)
    looks = np.ascontiguousarray(rows[:, 0])
    still = Timing(start_ns=plan.start_ns, until_ns=record.end_ns, listed=looks)
    possible: list[Potential] = []

    def look_at_none(machine: Machine) -> None:
        possible.append(potential(opened, plan, machine, None if isinstance(sharing, bool) else sharing))

    bounds: dict[str, Record] = {}
    for name in ("none", "oracle"):
        same = chosen.name == name
        looked = replace(still, at_end=look_at_none) if found and name == "none" else still
        bounds[name] = record if same else designs.DESIGNS[name].run(opened, plan, {}, looked, check=check)
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
        unsampled=Unsampled(
            dead_ns=record.dead_ns,
            longest_delay_ns=record.longest_delay_ns,
            copies_at_exit=record.copies_at_exit,
            copies_at_stop=record.copies_at_stop,
            peak_frames=record.peak_frames,
        ),
    )
    shown = record.rows if sample == "batch" else rows
    about_policy = (
        {}
        if turns.name == FIXED
        else {"policy": turns.name, "host_memory": memory, "refused_stores": record.refused_stores}
    )

    def make_spaces() -> pl.DataFrame:
        rows_wanted = len(record.rows) * plan.n_spaces
        if rows_wanted * _BYTES_PER_SPACE > max_memory:
            raise UsageError(
                f"{rows_wanted:,} rows about single spaces need {rows_wanted * _BYTES_PER_SPACE / 2**30:.1f} GiB, more "
                f"than --max-memory {max_memory / 2**30:.1f} GiB; sample less often or raise it"
            )
        wide = replace(timing, until_ns=record.end_ns, with_spaces=True, look=None, at_end=None)
        return _spaces_frame(chosen, chosen.run(policed, plan, codes, wide).spaces)

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
        | about_policy,
        samples=_frame(chosen, shown, None if turns.name == FIXED else record.shown),
        summary=summary,
        provenance=provenance(opened, profile),
        make_spaces=make_spaces,
        stores=record.stores,
        sharing=replace(found[0], potential=possible[0]) if found and possible else None,
    )
