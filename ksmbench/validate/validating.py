"""Many traces through engine and kernel: totals per counter, and what differs as short as it can be told."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ksmbench.errors import KsmbenchError, TraceError, UsageError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import write_trace
from ksmbench.validate.agreement import Agreement, Play, Tally, agree
from ksmbench.validate.generate import NEVER_PRUNE, Scenario
from ksmbench.validate.making import squeezed, without_collisions
from ksmbench.validate.script import UnplayableError
from ksmbench.validate.shrink import shrink

_REPEATS = 2


@dataclass(frozen=True)
class Difference:
    """A trace that differs."""

    name: str
    first: str  # the first difference in words
    repeats: int  # how often it differed again, of _REPEATS
    saved: Path | None = None  # the shortest trace that still differs
    n_events: int = 0  # in that

    def __str__(self) -> str:
        again = f"; differed again {self.repeats} of {_REPEATS} times"
        where = f"; {self.n_events} events of it in {self.saved}" if self.saved else ""
        return f"{self.name}: {self.first}{again}{where}"


@dataclass
class Verdict:
    """What was compared, and what was found."""

    traces: int = 0
    batches: int = 0
    values: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    unplayed: dict[str, str] = field(default_factory=dict)  # name and why

    @property
    def agrees(self) -> bool:
        """Whether everything was played and nothing differed."""
        return not self.differences and not self.unplayed

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "agrees": self.agrees,
            "traces": self.traces,
            "batches": self.batches,
            "values": self.values,
            "counters": [
                {"name": t.name, "compared": t.batches, "differences": t.differences, "first": t.first}
                for t in self.tallies.values()
            ],
            "differences": [
                {"name": d.name, "first": d.first, "repeated": d.repeats, "saved": str(d.saved) if d.saved else None}
                for d in self.differences
            ],
            "unplayed": self.unplayed,
        }


def from_trace(trace: Trace, settings: dict[str, int], *, batches: int = 0) -> Scenario:
    """`trace` as something to validate; with `batches`, in the time of so many.

    Settings are those that a shortened trace was saved with, then `settings`. Raises `UsageError` for what depends on
    the wall clock or on CPU time and therefore cannot be compared.
    """
    noted = trace.manifest.get("validate")
    kept = noted.get("settings", {}) if isinstance(noted, dict) else {}
    chosen = {"stable_node_chains_prune_millisecs": 0, **kept, **settings}
    tunes = np.flatnonzero(trace.events.kind == Kind.TUNE)
    stored = [(trace.names[trace.events.name[row]], int(trace.events.value[row])) for row in tunes]
    for name, value in [*chosen.items(), *stored]:
        if name == "stable_node_chains_prune_millisecs" and value not in (0, NEVER_PRUNE):
            raise UsageError(f"{name}={value} goes by the wall clock; 0 and {NEVER_PRUNE} can be compared")
        if name == "advisor_mode" and value == 1:
            raise UsageError(
                "advisor_mode=1 goes by ksmd's CPU time; only without it can kernel and engine be compared"
            )
    if batches:
        trace = squeezed(trace, batches, chosen.get("sleep_millisecs", 20))
    name = trace.path.name if trace.path else "the trace"
    return Scenario(name, without_collisions(trace), chosen)


def both_frames(name: str, result: Agreement) -> pl.DataFrame:
    """Engine and kernel below each other: one row per batch (space null) and per batch and space."""
    parts = []
    for source, played in (("engine", result.ours), ("kernel", result.theirs)):
        for frame in (played.samples, played.spaces):
            said = [pl.lit(name).alias("trace"), pl.lit(source).alias("source")]
            space = [] if "space" in frame.columns else [pl.lit(None, pl.UInt32).alias("space")]
            parts.append(frame.with_columns(*said, *space))
    whole = pl.concat(parts, how="diagonal")
    return whole.select("trace", "source", "time_ns", "space", pl.exclude("trace", "source", "time_ns", "space"))


class Validation:
    """Adds up one trace after the other."""

    def __init__(
        self, play: Play, design: str, *, save: Path | None = None, keep: Callable[[pl.DataFrame], None] | None = None
    ) -> None:
        self.verdict = Verdict()
        self._play = play
        self._design = design
        self._save = save  # where shortened traces go
        self._keep = keep  # is given what engine and kernel said, trace by trace

    def add(self, scenario: Scenario) -> None:
        """Play, replay and compare one; what differs is played again, shortened and saved."""
        try:
            result = self._agree(scenario.trace, scenario.settings)
        except (TraceError, UnplayableError) as error:
            self.verdict.unplayed[scenario.name] = str(error)
            return
        self._count(scenario.name, result)
        if self._keep is not None:
            self._keep(both_frames(scenario.name, result))
        if result.differing:
            self.verdict.differences.append(self._explain(scenario, result))

    def _agree(self, trace: Trace, settings: dict[str, int]) -> Agreement:
        return agree(trace, settings, self._play, design=self._design)

    def _count(self, name: str, result: Agreement) -> None:
        verdict = self.verdict
        verdict.traces += 1
        verdict.batches += len(result.ours.samples)
        for tally in result.tallies.values():
            total = verdict.tallies.setdefault(tally.name, Tally(tally.name))
            total.batches += tally.batches
            total.differences += tally.differences
            verdict.values += tally.batches
            if total.first is None and tally.first is not None:
                total.first = f"{name}, {tally.first}"

    def _differs(self, trace: Trace, settings: dict[str, int]) -> int | None:
        try:
            differing = self._agree(trace, settings).differing
        except KsmbenchError:
            return None
        return differing[0].first_ns if differing else None

    def _explain(self, scenario: Scenario, result: Agreement) -> Difference:
        settings = scenario.settings
        repeats = sum(self._differs(scenario.trace, settings) is not None for _ in range(_REPEATS))
        found = Difference(scenario.name, f"{settings} {result.first}", repeats)
        if self._save is None or repeats < _REPEATS:
            return found
        short = shrink(scenario.trace, lambda trace: self._differs(trace, settings))
        again = self._agree(short, settings)
        about = {
            "label": f"differs: {scenario.name}",
            "notes": f"{self._design}: {again.first}",
            "validate": {"design": self._design, "settings": settings},
        }
        target = self._save / scenario.name.replace(" ", "-")
        write_trace(replace(short, manifest=short.manifest | about), target, force=True)
        first = f"{settings} {again.first or result.first}"
        return replace(found, first=first, saved=target, n_events=len(short.events.kind) - 1)
