"""`ksmbench.compare`: several designs and settings side by side on the same traces, over all cores."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.outputs import refuse_closed

if TYPE_CHECKING:
    import polars as pl

    from ksmbench.designs.design import Design, Value
    from ksmbench.engine.cost import CostProfile
    from ksmbench.metrics.sharing import Sharing
    from ksmbench.result import Result
    from ksmbench.trace.columns import Trace

    AnyTrace = Trace | str | os.PathLike[str]

Progress = Callable[[float], None]  # told the part that is done, from 0 to 1
BOUNDS = ("none", "oracle")
_BOUND_SAMPLES = 4000  # where the designs are sampled by batch, which the bounds do not have
KEYS = ("trace", "design", "settings")
POLICY = "policy"  # among the settings of a design's text: who turns them
FIXED_POLICY = "fixed"


@dataclass(frozen=True)
class Spec:
    """A design and the settings that differ from its defaults, as "ksm-6.18,pages_to_scan=1000" says them."""

    design: str
    settings: tuple[tuple[str, "Value"], ...] = ()
    policy: str = FIXED_POLICY  # who turns the settings

    @property
    def settings_text(self) -> str:
        """Such as "pages_to_scan=1000,policy=ksmtuned"; empty for the defaults."""
        told = [*self.settings] if self.policy == FIXED_POLICY else [*self.settings, (POLICY, self.policy)]
        return ",".join(f"{name}={value}" for name, value in told)

    def __str__(self) -> str:
        return ",".join(filter(None, (self.design, self.settings_text)))


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    `samples` leads with trace, design, settings (text) and goes on as a replay's; `summary` has one row per trace and
    design with every key of a replay's summary. `bounds` are the samples of `none` and `oracle` on every trace, also
    where they were not asked for: the floor and the ceiling of plots.
    """

    samples: "pl.DataFrame"
    summary: "pl.DataFrame"
    bounds: "pl.DataFrame" = field(repr=False)
    page_size: dict[str, int]  # of every trace, bytes
    paths: dict[str, str]  # of every trace
    notes: dict[str, str]  # what every trace says about itself
    designs: list[str]  # as texts that `parse_design` reads
    options: dict[str, Any]  # sample, cost, until, mergeable, ignore_tune, host_memory, as asked for
    provenance: list[dict[str, Any]]  # of each replay, in the order of `summary`
    output: Path | None = None
    sharing: "dict[tuple[str, str, str], Sharing]" = field(default_factory=dict, repr=False)  # by KEYS, for the report


def _pairs(text: str, parts: list[str], design: "Design") -> list[tuple[str, str]]:
    # NAME=VALUE of each part; one without "=" goes on with the words of the setting before it.
    sets = {setting.name for setting in design.settings if setting.many}
    pairs: list[tuple[str, str]] = []
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if equals and key:
            pairs.append((key, value))
        elif pairs and part and pairs[-1][0] in sets:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]},{part}")
        else:
            after = f", and {pairs[-1][0]} takes one value" if pairs and not equals else ""
            raise UsageError(f'--design {text}: "{part}" is not NAME=VALUE, such as pages_to_scan=1000{after}')
    return pairs


def parse_design(text: str) -> Spec:
    """The design and settings that `text` names; raises `UsageError` in one sentence."""
    from ksmbench import designs
    from ksmbench.policies import begun, find_policy

    name, *parts = (part.strip() for part in text.split(","))
    design = designs.find(name)
    given: dict[str, int | str] = {}
    integers = {setting.name for setting in design.settings} - design.worded  # what is no setting is told below
    for key, value in _pairs(text, parts, design):
        if key in given:
            raise UsageError(f"--design {text}: {key} is set twice")
        try:
            given[key] = int(value) if key in integers else value
        except ValueError:
            raise UsageError(f'--design {text}: {key} must be an integer, not "{value}"') from None
    policy = find_policy(str(given.pop(POLICY, FIXED_POLICY)))
    complete = designs.complete_settings(design, given)
    begun(policy, design, {key: complete[key] for key in given})
    return Spec(design.name, tuple((key, complete[key]) for key in given), policy.name)


def with_policies(wanted: Iterable[str], policies: Iterable[str]) -> list[str]:
    """Each design's text with each of `policies`; bounds and texts that name one themselves stay as they are."""
    chosen = list(policies)
    texts = [wanted] if isinstance(wanted, str) else list(wanted)
    made = []
    for text in texts:
        parts = [part.strip() for part in text.split(",")]
        own = parts[0] in BOUNDS or any(part.startswith(f"{POLICY}=") for part in parts)
        several = (
            [text]
            if own or not chosen
            else [text if name == FIXED_POLICY else f"{text},{POLICY}={name}" for name in chosen]
        )
        made += several
    return list(dict.fromkeys(made))


def _specs(wanted: Iterable[str]) -> list[Spec]:
    specs = [parse_design(text) for text in ([wanted] if isinstance(wanted, str) else wanted)]
    if not specs:
        raise UsageError("nothing to compare; name at least one design, such as ksm-6.18")
    seen = [replace(spec, settings=tuple(sorted(spec.settings))) for spec in specs]
    for spec, same in zip(specs, seen, strict=True):
        if seen.count(same) > 1:
            raise UsageError(f'"{spec}" is named twice; once is enough')
    return specs


def short_name(trace: "Trace") -> str | None:
    """What a trace is called: its folder, or the last part of its URL; None for one that was made in memory."""
    from ksmbench.trace.remote import name_of

    return trace.path.resolve().name if trace.path else name_of(trace.url) if trace.url else None


def place(trace: "Trace") -> str | None:
    """Where a trace is: its folder or its URL; None for one that was made in memory."""
    return str(trace.path) if trace.path else trace.url


def open_traces(traces: "AnyTrace | Sequence[AnyTrace]") -> "dict[str, Trace]":
    """Traces by a short name: the folder's, or its whole path where two folders are called alike."""
    from ksmbench.trace.columns import Trace
    from ksmbench.trace.store import open_trace

    given = [traces] if isinstance(traces, Trace | str | os.PathLike) else list(traces)
    if not given:
        raise UsageError("nothing to compare on; name at least one trace")
    opened = [trace if isinstance(trace, Trace) else open_trace(trace) for trace in given]
    names = [short_name(trace) or f"trace-{i + 1}" for i, trace in enumerate(opened)]
    paths = [place(trace) or name for trace, name in zip(opened, names, strict=True)]
    labels = [path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f'the trace "{label}" is named twice; once is enough')
    return dict(zip(labels, opened, strict=True))


class _Stopped(Exception):  # noqa: N818 - no error: how a replay is told that it is no longer wanted
    pass


class _Parts:
    """The part done of all tasks together, told from any thread; and the word to stop, told back."""

    def __init__(self, n_tasks: int, progress: Progress | None) -> None:
        self.parts = [0.0] * n_tasks
        self.progress = progress
        self.lock = threading.Lock()
        self.stopped = False

    def tell(self, task: int, part: float) -> None:
        if self.stopped:
            raise _Stopped
        if self.progress is None:
            return
        with self.lock:
            self.parts[task] = part
            self.progress(sum(self.parts) / len(self.parts))


def _run_all(tasks: "list[Callable[[], Result]]", first: int, jobs: int | None, parts: _Parts) -> "list[Result]":
    # The task `first` alone, so that compiling happens once; then the others on threads (kernels release the GIL).
    results: dict[int, Result] = {first: tasks[first]()}
    rest = [i for i in range(len(tasks)) if i != first]
    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        futures = {i: pool.submit(tasks[i]) for i in rest}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            failed = [future for future in futures.values() if future.done() and future.exception()]
            for future in failed:
                future.result()
        except BaseException:  # a failure or Ctrl-C: what still runs is worth nothing
            parts.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        results |= {i: future.result() for i, future in futures.items()}
    return [results[i] for i in range(len(tasks))]


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


def bound_sample(trace: "Trace", sample: str | float) -> str | float:
    """How `none` and `oracle`, which have no batches, are sampled beside designs sampled by `sample`."""
    if sample != "batch":
        return sample
    times = trace.events.time_ns
    span = int(times[-1] - times[0]) if len(times) else 0
    return max(span / _BOUND_SAMPLES, 1e6) / 1e9


def _replay_all(
    opened: "dict[str, Trace]",
    tasks: list[Task],
    jobs: int | None,
    progress: Progress | None,
    options: dict[str, Any],
) -> "dict[Task, Result]":
    from ksmbench.replaying import replay

    parts = _Parts(len(tasks), progress)

    def bind(number: int, task: Task) -> "Callable[[], Result]":
        def run() -> "Result":
            def tell(part: float) -> None:
                parts.tell(number, part)

            more: dict[str, Any] = options | dict(task.spec.settings) | {POLICY: task.spec.policy}
            if task.spec.design in BOUNDS:
                more.pop("sharing", None)
            try:
                result = replay(opened[task.label], task.spec.design, sample=task.sample, progress=tell, **more)
            except KsmbenchError as error:
                raise type(error)(f"{task.spec} on {task.label}: {error}") from None
            tell(1.0)
            return result

        return run

    scans = [i for i, task in enumerate(tasks) if task.spec.design not in BOUNDS]
    results = _run_all([bind(i, task) for i, task in enumerate(tasks)], scans[0] if scans else 0, jobs, parts)
    return dict(zip(tasks, results, strict=True))


def stack(parts: "Iterable[tuple[Task, pl.DataFrame]]") -> "pl.DataFrame":
    """The samples of all replays under each other, led by KEYS.

    A design may have columns that others have not; those that all have come first.
    """
    import polars as pl

    from ksmbench.engine.counters import REVIEW_COUNTERS, WORK_COUNTERS

    stacked = pl.concat(
        (
            samples.select([pl.lit(value).alias(name) for name, value in zip(KEYS, task.key, strict=True)] + [pl.all()])
            for task, samples in parts
        ),
        how="diagonal",
    )
    more = [name for name in (*REVIEW_COUNTERS, *WORK_COUNTERS) if name in stacked.columns]
    return stacked.select(pl.exclude(more), *more) if more else stacked


def summary_frame(rows: "list[dict[str, Any]]") -> "pl.DataFrame":
    """One row per replay: KEYS and its summary."""
    import polars as pl

    frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
    return frame.with_columns(pl.col(pl.Null).cast(pl.Float64))


def _stack(done: "dict[Task, Result]", tasks: list[Task]) -> "pl.DataFrame":
    return stack((task, done[task].samples) for task in tasks)


def _summary(done: "dict[Task, Result]", tasks: list[Task]) -> "pl.DataFrame":
    return summary_frame([dict(zip(KEYS, task.key, strict=True)) | done[task].summary for task in tasks])


def compare(
    traces: "AnyTrace | Sequence[AnyTrace]",
    designs: Iterable[str],
    output: str | os.PathLike[str] | None = None,
    *,
    sample: str | float = 1.0,
    cost: "str | CostProfile | None" = None,
    until: float | None = None,
    mergeable: str = "as-is",
    ignore_tune: bool = False,
    policy: str | Sequence[str] = (),
    host_memory: int | None = None,
    domains: "Mapping[str, str] | None" = None,
    max_memory: int | None = None,
    force: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Replay every one of `traces` (a `Trace` or a path each) through every one of `designs`.

    `designs` are texts such as "ksm-6.18" or "ksm-6.18,pages_to_scan=1000,sleep_millisecs=50"; "policy=ksmtuned" in
    one says who turns its settings, and with several in `policy` each design that says nothing is replayed with each.
    `domains` names security domains by patterns of space names, for what merging within them alone would lose.
    The other options mean what they mean to `ksmbench.replay`. With `output`, a folder of that name appears whole, with
    `report.html`, `report.md` and `samples.parquet`; an existing one is an error unless `force` is set. `max_memory`
    holds for each replay, and as many run at a time as `jobs` says or the machine has cores. `progress` is told the
    part done, 0 to 1.

    Raises `TraceError` for a broken trace and `UsageError` for what cannot be meant; the text of an error in a replay
    begins with the design and the trace.
    """
    from ksmbench.report.write import check_output, write_report

    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs={jobs}: must be 1 or more")
    specs = _specs(with_policies(designs, [policy] if isinstance(policy, str) else policy))
    folder = None if output is None else check_output(output, force=force)
    if folder is not None:
        refuse_closed(folder)
    opened = open_traces(traces)
    options = {
        "cost": cost,
        "until": until,
        "mergeable": mergeable,
        "ignore_tune": ignore_tune,
        "host_memory": host_memory,
    }
    asked = [Task(label, spec, sample) for label in opened for spec in specs]
    bounds = [
        Task(label, Spec(name), bound_sample(trace, sample)) for label, trace in opened.items() for name in BOUNDS
    ]
    tasks = list(dict.fromkeys(asked + bounds))
    limit: dict[str, Any] = {} if max_memory is None else {"max_memory": max_memory}
    if folder is not None:
        limit["sharing"] = True if domains is None else dict(domains)
    done = _replay_all(opened, tasks, jobs, progress, options | limit)
    comparison = Comparison(
        samples=_stack(done, asked),
        summary=_summary(done, asked),
        bounds=_stack(done, bounds),
        page_size={label: trace.page_size for label, trace in opened.items()},
        paths={label: place(trace) or label for label, trace in opened.items()},
        notes={label: str(trace.manifest.get("notes") or "") for label, trace in opened.items()},
        designs=[str(spec) for spec in specs],
        options={"sample": sample} | options | ({"domains": dict(domains)} if domains else {}),
        provenance=[done[task].options | {"settings": done[task].settings} | done[task].provenance for task in asked],
        output=folder,
        sharing={task.key: found for task in asked if (found := done[task].sharing) is not None},
    )
    if folder is not None:
        write_report(comparison, folder)
    return comparison
