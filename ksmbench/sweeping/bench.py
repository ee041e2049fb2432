"""Where replays of a sweep are done and kept: any number of specs on some traces, each once, whatever stops it."""

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmbench.engine.cost import find_profile
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.jit import is_cold
from ksmbench.metrics.front import front
from ksmbench.result import KEYS, Sweep
from ksmbench.specs import BOUNDS, POLICY, Spec
from ksmbench.sweeping.executors import Workers, dask_executor, local_executor
from ksmbench.sweeping.grid import complete
from ksmbench.sweeping.journal import Journal
from ksmbench.sweeping.point import Point, engine, trace_digest
from ksmbench.sweeping.running import TRIES, run_points
from ksmbench.tasks import Task, bound_sample, place, stack, summary_frame
from ksmbench.trace.columns import Trace
from ksmbench.trace.store import write_trace
from ksmbench.trace.tunes import tuned

if TYPE_CHECKING:
    import polars as pl

Progress = Callable[[int, int], None]  # told how many replays are done, of how many


@dataclass(frozen=True)
class _Work:
    """All replays of a sweep: the grid, and what it is seen beside."""

    grid: list[Point]
    bounds: list[Point]
    defaults: list[Point]

    @property
    def points(self) -> list[Point]:
        """Each replay once. First the one that is most likely to be refused where everything is."""
        unique = {point.identity: point for point in [*self.defaults, *self.bounds, *self.grid]}
        return list(unique.values())


@contextmanager
def _on_disk(opened: dict[str, Trace]) -> Iterator[dict[str, str]]:
    # Where workers find each trace: one that was made in memory is written first.
    scratch = (
        Path(tempfile.mkdtemp(prefix="ksmbench-sweep-")) if not all(t.path or t.url for t in opened.values()) else None
    )
    try:
        paths = {}
        for number, (label, trace) in enumerate(opened.items()):
            if trace.url is not None:
                paths[label] = trace.url
                continue
            if trace.path is None and scratch is not None:
                write_trace(trace, scratch / str(number))
            paths[label] = str(trace.path.resolve() if trace.path else (scratch or Path()) / str(number))
        yield paths
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _plan(
    opened: dict[str, Trace], paths: dict[str, str], specs: list[Spec], varied: set[str], options: dict[str, Any]
) -> _Work:
    more = {name: options[name] for name in ("until", "mergeable", "max_memory")}
    sample = options["sample"]
    profile = find_profile(options["cost"])
    this = engine()
    memory = options["host_memory"]
    work = _Work([], [], [])
    for label, trace in opened.items():
        left_out: bool | tuple[str, ...] = options["ignore_tune"] or tuple(sorted(varied & tuned(trace)))
        about: dict[str, Any] = more | {
            "path": paths[label],
            "trace": trace_digest(trace),
            "cost": profile,
            "ignore_tune": left_out,
            "host_memory": memory,
            "engine": this,
        }
        work.grid.extend(Point(task=Task(label, spec, sample), **about) for spec in specs)
        beside = bound_sample(trace, sample)
        work.bounds.extend(Point(task=Task(label, Spec(name), beside), **about) for name in BOUNDS)
        names = dict.fromkeys(spec.design for spec in specs)
        work.defaults.extend(Point(task=Task(label, Spec(name), sample), **about) for name in names)
    return work


@contextmanager
def _journal(folder: Path | None, mine: set[str] | None, force: bool) -> Iterator[Journal]:
    # In the output folder, or where there is none in a folder that goes with the sweep. Where it is known what will be
    # replayed, there must be nothing else.
    place = Path(tempfile.mkdtemp(prefix="ksmbench-sweep-")) if folder is None else folder
    try:
        journal = Journal(place)
        try:
            others = 0 if mine is None else journal.others(mine)
            if others and not force:
                raise UsageError(
                    f"{place} holds {others:,} replays of an unfinished sweep of other arguments, another trace or "
                    "another version; go on with those, choose another folder, or pass --force to begin anew"
                )
            if others:
                journal.discard()
            yield journal
        finally:
            journal.close()
    finally:
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)


def _run(
    work: _Work, journal: Journal, executor: Executor, progress: Progress | None, *, local: bool
) -> dict[str, KsmbenchError]:
    # Replays what the journal does not hold; gives back what was refused, by identity.
    kept = journal.kept()
    points = work.points
    todo = [point for point in points if point.identity not in kept]
    must = {point.identity for point in (*work.defaults, *work.bounds)}
    n_done = len(points) - len(todo)
    refused: dict[str, KsmbenchError] = {}
    lost: dict[Point, str] = {}
    if progress is not None:
        progress(n_done, len(points))
    alone = 1 if local and is_cold() else 0  # compiles, once for all
    for part in (todo[:alone], todo[alone:]):
        for point, outcome in run_points(executor, part, lost):
            if isinstance(outcome, KsmbenchError):
                if point.identity in must:
                    raise outcome
                refused[point.identity] = outcome
            else:
                journal.keep(point, outcome)
            n_done += 1
            if progress is not None:
                progress(n_done, len(points))
        if lost:
            break
    _check_none_lost(lost, len(points))
    if all(point.identity in refused for point in work.grid):
        raise refused[work.grid[0].identity]
    return refused


def _check_none_lost(lost: dict[Point, str], n_points: int) -> None:
    if not lost:
        return
    point, why = next(iter(lost.items()))
    raise KsmbenchError(
        f"{len(lost):,} of {n_points:,} replays failed {TRIES} times, as {point.task.spec} on {point.task.label}: "
        f"{why}; the others are kept, and the same command tries these again (with fewer --jobs each has more memory)"
    )


def _rows(points: Sequence[Point], journal: Journal, varied: Iterable[str]) -> "pl.DataFrame":
    rows = []
    for point in points:
        settings = dict(complete(point.task.spec))
        settings[POLICY] = point.task.spec.policy
        named = dict(zip(KEYS, point.task.key, strict=True)) | {name: settings[name] for name in varied}
        rows.append(named | journal.facts(point).summary)
    return summary_frame(rows)


def _with_front(summary: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    pairs = summary.select("trace", "saved_bytes", "scan_cost_cpu_share").rows()
    chosen = [False] * len(pairs)
    for trace in dict.fromkeys(pair[0] for pair in pairs):
        rows = [i for i, pair in enumerate(pairs) if pair[0] == trace]
        for i, is_on in zip(rows, front([pairs[i][1:] for i in rows]), strict=True):
            chosen[i] = is_on
    return summary.with_columns(pl.Series("on_front", chosen))


def _samples(points: Sequence[Point], journal: Journal) -> "pl.DataFrame":
    return stack((point.task, journal.read(point).samples) for point in points)


def _refused_frame(work: _Work, refused: dict[str, KsmbenchError]) -> "pl.DataFrame":
    import polars as pl

    rows = [(*point.task.key, str(refused[point.identity])) for point in work.grid if point.identity in refused]
    return pl.DataFrame(rows, schema=dict.fromkeys((*KEYS, "why"), pl.String), orient="row")


def _collect(work: _Work, journal: Journal, refused: dict[str, KsmbenchError], varied: Iterable[str]) -> dict[str, Any]:
    # In the order of the grid, whenever and wherever each was replayed: the same sweep gives the same tables.
    done = [point for point in work.grid if point.identity not in refused]
    first = {point.task.label: point for point in reversed(done)}
    return {
        "samples": _samples(done, journal),
        "summary": _with_front(_rows(done, journal, varied)),
        "bounds": _samples(work.bounds, journal),
        "defaults": _rows(work.defaults, journal, ()),
        "default_samples": _samples(work.defaults, journal),
        "refused": _refused_frame(work, refused),
        "provenance": {label: journal.facts(point).provenance for label, point in first.items()},
    }


class Bench:
    """Traces, workers and finished replays; made by `open_bench`."""

    def __init__(
        self,
        opened: dict[str, Trace],
        paths: dict[str, str],
        options: dict[str, Any],
        journal: Journal,
        where: Executor,
    ) -> None:
        self._opened = opened
        self._paths = paths
        self._options = options
        self._journal = journal
        self._where = where
        self._work = _Work([], [], [])

    def run(
        self,
        specs: list[Spec],
        designs: list[str],
        vary: dict[str, list[Any]],
        *,
        progress: Progress | None = None,
        output: Path | None = None,
    ) -> Sweep:
        """Replay `specs`, all but those that were, and give the tables of them; `vary` names their columns."""
        opened = self._opened
        work = self._work = _plan(opened, self._paths, specs, set(vary), self._options)
        refused = _run(work, self._journal, self._where, progress, local=isinstance(self._where, Workers))
        return Sweep(
            **_collect(work, self._journal, refused, vary),
            page_size={label: trace.page_size for label, trace in opened.items()},
            paths={label: place(trace) or label for label, trace in opened.items()},
            notes={label: str(trace.manifest.get("notes") or "") for label, trace in opened.items()},
            designs=designs,
            vary=vary,
            options={name: value for name, value in self._options.items() if name != "max_memory"},
            output=output,
        )

    def look(self, found: Sweep, keys: Collection[tuple[str, str, str]]) -> Sweep:
        """`found`, the last sweep run here, with `sharing` for these KEYS: each is replayed once more."""
        points = {point.task.key: point for point in (*self._work.defaults, *self._work.grid)}
        todo = [replace(points[key], sharing=True) for key in keys]
        lost: dict[Point, str] = {}
        sharing = {}
        for point, outcome in run_points(self._where, todo, lost):
            if isinstance(outcome, KsmbenchError):
                raise outcome
            if outcome.sharing is not None:
                sharing[point.task.key] = outcome.sharing
        _check_none_lost(lost, len(todo))
        return replace(found, sharing={key: sharing[key] for key in keys if key in sharing})


@contextmanager
def open_bench(
    opened: dict[str, Trace],
    options: dict[str, Any],
    folder: Path | None,
    *,
    only: tuple[list[Spec], Collection[str]] | None = None,
    force: bool = False,
    jobs: int | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
) -> Iterator[Bench]:
    """A `Bench` that keeps its replays in `folder`/unfinished.

    `only` are the specs that will be replayed and the names of what they vary: others there are an error, or with
    `force` removed.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs={jobs}: must be 1 or more")
    if (jobs is not None) + (dask is not None) + (executor is not None) > 1:
        raise UsageError("jobs, dask and executor each say where replays run; give one of them")
    with _on_disk(opened) as paths:
        mine = None
        if only is not None:
            mine = {point.identity for point in _plan(opened, paths, only[0], set(only[1]), options).points}
        with _journal(folder, mine, force) as journal:
            where = dask_executor(dask) if dask else nullcontext(executor) if executor else local_executor(jobs)
            with where as chosen:
                yield Bench(opened, paths, options, journal, chosen)
