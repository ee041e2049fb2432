"""`ksmbench.tune`: searches the settings that reach a goal on a trace, with the evidence."""

import os
import shlex
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmbench.designs import DEFAULT, complete_settings, find
from ksmbench.designs.design import RELEASES
from ksmbench.engine.cost import CostProfile
from ksmbench.engine.plan import MAX_MEMORY
from ksmbench.errors import UsageError
from ksmbench.outputs import refuse_closed
from ksmbench.policies import FIXED
from ksmbench.report.page import said_options
from ksmbench.report.sweep import Advice, check_sweep_output, looked_at, write_sweep
from ksmbench.result import Sweep
from ksmbench.specs import Spec, parse_design
from ksmbench.sweeping.bench import Bench, open_bench
from ksmbench.tasks import open_traces
from ksmbench.tuning import install, search
from ksmbench.tuning.goal import Goal, Row

if TYPE_CHECKING:
    from ksmbench.trace.columns import Trace

Progress = Callable[[int, int], None]  # told how many replays are done, and how many there will be at most
MAX_REPLAYS = 200  # default of --max-replays
INSTALLED = ("ksm.conf", "ksm.sh", "ksmtuned.conf")
_SHOWN = ("saved_bytes", "saved_bytes_net", "oracle_share", "scan_cost_cpu_share", "reached_s", "cow_breaks")


@dataclass(frozen=True)
class Tuning:
    """What `tune` found: `best` and `default` are rows of a summary with `reached_s`, the seconds until the saving."""

    goal: Goal
    reached: bool
    settings: dict[str, int | str]  # of `best`, those that were searched
    best: Row
    default: Row
    misses: list[str]  # what `best` lacks, where no setting reaches the goal
    files: dict[str, str]  # to install, by name; none where the goal is not reached, and for designs of 2009
    sweep: Sweep = field(repr=False)  # every replay
    output: Path | None = None

    @property
    def label(self) -> str:
        """The best as a design's text."""
        return ",".join(filter(None, (self.best["design"], self.best["settings"])))

    def sentences(self) -> list[str]:
        """What was found, in words."""
        best, default = self.best, self.default
        goal = f"Goal: {self.goal}."
        possible = best["oracle_saved_bytes"]
        if possible <= 0:
            return [goal, "There is nothing to save: of what may be merged no two pages are equal when the trace ends."]
        share = _percent(best["saved_bytes_net"] / possible, 1)
        told = f"saves {_mib(best['saved_bytes_net'])} net for {_percent(best['scan_cost_cpu_share'])}"
        told += f" of one CPU, {share} of what the oracle saves"
        told += f", {self._there(best)}." if best["reached_s"] is not None else "."
        if self.reached:
            told = f"`{self.label}` {told}"
        else:
            told = f"No setting reaches it. The nearest, `{self.label}`, {told} It {' and '.join(self.misses)}."
            if best["saved_bytes"] <= 0:
                told += f" In the {best['seconds']:,.1f} s that were replayed nothing was merged; take a longer trace."
        other = (
            f"The kernel's default saves {_mib(default['saved_bytes_net'])} net for "
            f"{_percent(default['scan_cost_cpu_share'])} of one CPU; the oracle, {_mib(possible)}."
        )
        return [goal, told, other]

    def _there(self, row: Row) -> str:
        after = f"after {row['reached_s']:,.1f} s"
        return f"reached {after}" if self.goal.asks_for_saving else f"nine tenths of its saving {after}"

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON takes it."""

        def shown(row: Row) -> dict[str, Any]:
            return {"design": row["design"], "settings": row["settings"]} | {name: row[name] for name in _SHOWN}

        return {
            "goal": str(self.goal),
            "reached": self.reached,
            "design": self.best["design"],
            "settings": self.settings,
            "best": shown(self.best),
            "default": shown(self.default),
            "oracle_saved_bytes": self.best["oracle_saved_bytes"],
            "misses": self.misses,
            "replays": self.sweep.summary.height,
            "report": str(self.output / "report.html") if self.output else None,
            "files": {name: str(self.output / name) for name in self.files} if self.output else {},
        }


def _mib(value: float) -> str:
    return f"{round(value / 2**20, 1) + 0.0:,.1f} MiB"  # not -0.0


def _percent(share: float | None, digits: int = 2) -> str:
    return "–" if share is None else f"{round(100 * share, digits) + 0.0:.{digits}f} %"


def _reached(sweep: Sweep, row: Row, goal: Goal, samples: Any) -> float | None:
    # Seconds until the saving asked for is there, or where none is, nine tenths of its own.
    import polars as pl

    if not goal.asks_for_saving:
        return row["time_to_90_percent_s"]  # type: ignore[no-any-return]
    floor = sweep.bounds.filter(design="none").select("time_ns", pl.col("frames").alias("unmerged")).sort("time_ns")
    own = samples.filter(design=row["design"], settings=row["settings"]).sort("time_ns")
    joined = own.join_asof(floor, on="time_ns", strategy="backward")
    page = next(iter(sweep.page_size.values()))
    net = (joined["unmerged"] - joined["frames"]) * page - row["metadata_bytes"]
    there = net >= goal.wanted_bytes(row["oracle_saved_bytes"])
    if not there.any():
        return None
    return float(joined["time_ns"][there.arg_max()] - floor["time_ns"][0]) / 1e9


def _rows(sweep: Sweep, goal: Goal) -> list[Row]:
    rows = sweep.summary.to_dicts()
    defaults = {f"{setting.name}={setting.default}" for row in rows[:1] for setting in find(row["design"]).settings}
    return [
        row
        | {
            "reached_s": _reached(sweep, row, goal, sweep.samples),
            "changes": len({part for part in row["settings"].split(",") if part} - defaults),
        }
        for row in rows
    ]


class _Search:
    """The three steps; each makes the sweep larger."""

    def __init__(self, bench: Bench, spec: Spec, goal: Goal, limit: int, progress: Progress | None) -> None:
        self.design = find(spec.design)
        self.fixed = dict(spec.settings)
        self.bench = bench
        self.goal = goal
        self.specs: dict[tuple[Any, ...], Spec] = {}
        self.names = search.searched(self.design)
        self.limit = limit
        self.progress = progress
        self.most = min(limit, search.most(self.design, self.fixed, goal.max_cpu))

    def step(self, more: list[Spec]) -> list[Row]:
        """Replay what is new of `more`, as far as the limit goes; all rows so far, best first."""
        for spec in more:
            complete = complete_settings(self.design, dict(spec.settings))
            if len(self.specs) + 3 < self.limit:
                self.specs.setdefault(tuple(complete.items()), spec)
        vary: dict[str, list[Any]] = {name: [] for name in self.names if name not in self.fixed}
        self.sweep = self.bench.run(list(self.specs.values()), [self.design.name], vary, progress=self._tell)
        return self.goal.ranked(_rows(self.sweep, self.goal))

    def _tell(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, max(self.most, total))

    def _by_hand(self, rows: list[Row]) -> list[dict[str, Any]]:
        # Those that the advisor does not set, as settings to go on from.
        varied = [name for name in self.names if name not in self.fixed and not name.startswith("advisor_")]
        return [{name: row[name] for name in varied} for row in rows if not row.get("advisor_mode")]

    def run(self) -> list[Row]:
        """All rows, best first."""
        rows = self.step(search.coarse(self.design, self.fixed))
        rows = self.step(search.beside(self.design, self.fixed, self._by_hand(rows), self.goal.max_cpu))
        return self.step(search.finer(self.design, self.fixed, self._by_hand(rows)))


def _command(trace: str, design: str, words: list[str], output: Path | None) -> str:
    parts = ["ksmbench", "tune", trace, *(["--design", design] if design != DEFAULT else []), *words]
    return shlex.join([*parts, "-o", str(output or "FOLDER")])


def goal_words(goal: Goal) -> list[str]:
    """The options of the command line that ask for `goal`."""
    words = []
    if goal.max_cpu is not None:
        words += ["--max-cpu", f"{100 * goal.max_cpu:g}%"]
    if goal.min_saving is not None:
        words += ["--min-saving", str(goal.min_saving)]
    if goal.min_share is not None:
        words += ["--min-saving", f"{100 * goal.min_share:g}%"]
    if goal.within is not None:
        words += ["--within", f"{goal.within:g}s"]
    return words


def tune(
    trace: "Trace | str | os.PathLike[str]",
    output: str | os.PathLike[str] | None = None,
    *,
    max_cpu: float | None = None,
    min_saving: int | None = None,
    min_share: float | None = None,
    within: float | None = None,
    design: str = DEFAULT,
    sample: float = 1.0,
    cost: str | CostProfile | None = None,
    until: float | None = None,
    mergeable: str = "as-is",
    host_memory: int | None = None,
    max_memory: int | None = None,
    max_replays: int = MAX_REPLAYS,
    force: bool = False,
    jobs: int | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Search the settings of `design` that reach a goal on `trace`: pace, smart scan, sharing, zero pages, advisor.

    The goal is at least one of `max_cpu` (share of one CPU), `min_saving` (net bytes) or `min_share` (of what the
    oracle saves, net) and `within` (seconds). With a saving to reach the cheapest settings that reach it are best;
    without, those that save most, and among about equal ones the cheapest, and of these what changes fewest settings.
    Settings in the text of `design` stay as they are, and changes of searched settings that the trace recorded are left
    out. With `output`, a folder gets the report of all replays as evidence, and files to install.

    Raises as `ksmbench.sweep` does. Where no setting reaches the goal the result says so.
    """
    goal = Goal(max_cpu, min_saving, min_share, within)
    spec = parse_design(design)
    if "pages_to_scan" not in {setting.name for setting in find(spec.design).settings}:
        raise UsageError(f'design "{spec.design}" has no settings to search')
    if spec.policy != FIXED:
        raise UsageError(f"--design {design}: leave policy out; a search is for settings that nobody turns")
    if max_cpu is not None and cost == "none":
        raise UsageError(
            "a limit on CPU time needs a cost profile; leave out --cost none, by which scanning takes none"
        )
    if max_replays < 10:
        raise UsageError(f"max_replays={max_replays}: must be 10 or more")
    folder = None if output is None else check_sweep_output(output, force=force, more=INSTALLED)
    if folder is not None:
        refuse_closed(folder)
    opened = open_traces([trace])
    options = {
        "sample": sample,
        "cost": cost,
        "until": until,
        "mergeable": mergeable,
        "ignore_tune": False,
        "host_memory": host_memory,
        "max_memory": max_memory or MAX_MEMORY,
    }
    with open_bench(opened, options, folder, force=force, jobs=jobs, dask=dask, executor=executor) as bench:
        searching = _Search(bench, spec, goal, max_replays, progress)
        rows = searching.run()
        sweep = searching.sweep
        best = rows[0]
        default = sweep.defaults.to_dicts()[0]
        default |= {"reached_s": _reached(sweep, default, goal, sweep.default_samples)}
        misses = goal.misses(best)
        chosen = complete_settings(searching.design, searching.fixed | _by_text(best["settings"]))
        settings = {name: value for name, value in chosen.items() if name in searching.names or name in searching.fixed}
        about = f"KSM for {next(iter(sweep.paths.values()))}: {goal} ({best['design']})"
        memory = host_memory or next(iter(opened.values())).host_memory
        is_installable = searching.design.family == RELEASES  # those of 2009 were patches, with files of their own
        found = Tuning(
            goal=goal,
            reached=not misses,
            settings=settings,
            best=best,
            default=default,
            misses=misses,
            files=install.files(settings, about, memory) if not misses and is_installable else {},
            sweep=sweep,
            output=folder,
        )
        if folder is not None:
            words = [*goal_words(goal), *said_options(sweep.options)]
            words += ["--max-replays", str(max_replays)] if max_replays != MAX_REPLAYS else []
            command = _command(next(iter(sweep.paths.values())), design, words, folder)
            advice = Advice(
                found.sentences(), found.label, "chosen" if found.reached else "nearest", command, found.files
            )
            found = replace(found, sweep=bench.look(sweep, looked_at(sweep, advice)))
            write_sweep(found.sweep, folder, advice)
    return found


def _by_text(settings: str) -> dict[str, int | str]:
    pairs = (part.split("=", 1) for part in settings.split(",") if "=" in part)
    return {name: int(value) if value.isdecimal() else value for name, value in pairs}


__all__ = ["Goal", "Tuning", "tune"]
