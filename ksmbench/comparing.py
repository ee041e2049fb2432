"""`ksmbench.compare`: several designs and settings side by side on the same traces, over all cores."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import polars as pl

from ksmbench.engine.cost import CostProfile
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.outputs import refuse_closed
from ksmbench.replaying import replay
from ksmbench.report.write import check_output, write_report
from ksmbench.result import KEYS, Comparison, Result
from ksmbench.specs import BOUNDS, POLICY, Spec, parse_design, with_policies
from ksmbench.tasks import AnyTrace, Task, bound_sample, open_traces, place, stack, summary_frame
from ksmbench.trace.columns import Trace

Progress = Callable[[float], None]  # told the part that is done, from 0 to 1


def _specs(wanted: Iterable[str]) -> list[Spec]:
    specs = [parse_design(text) for text in ([wanted] if isinstance(wanted, str) else wanted)]
    if not specs:
        raise UsageError("nothing to compare; name at least one design, such as ksm-6.18")
    seen = [replace(spec, settings=tuple(sorted(spec.settings))) for spec in specs]
    for spec, same in zip(specs, seen, strict=True):
        if seen.count(same) > 1:
            raise UsageError(f'"{spec}" is named twice; once is enough')
    return specs


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


def _run_all(tasks: list[Callable[[], Result]], first: int, jobs: int | None, parts: _Parts) -> list[Result]:
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


def _replay_all(
    opened: dict[str, Trace],
    tasks: list[Task],
    jobs: int | None,
    progress: Progress | None,
    options: dict[str, Any],
) -> dict[Task, Result]:
    parts = _Parts(len(tasks), progress)

    def bind(number: int, task: Task) -> Callable[[], Result]:
        def run() -> Result:
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


def _stack(done: dict[Task, Result], tasks: list[Task]) -> pl.DataFrame:
    return stack((task, done[task].samples) for task in tasks)


def _summary(done: dict[Task, Result], tasks: list[Task]) -> pl.DataFrame:
    return summary_frame([dict(zip(KEYS, task.key, strict=True)) | done[task].summary for task in tasks])


def compare(
    traces: AnyTrace | Sequence[AnyTrace],
    designs: Iterable[str],
    output: str | os.PathLike[str] | None = None,
    *,
    sample: str | float = 1.0,
    cost: str | CostProfile | None = None,
    until: float | None = None,
    mergeable: str = "as-is",
    ignore_tune: bool = False,
    policy: str | Sequence[str] = (),
    host_memory: int | None = None,
    domains: Mapping[str, str] | None = None,
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
