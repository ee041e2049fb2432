"""A trace through the engine and through a kernel, side by side: what was compared, and where they first differ."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from ksmbench import designs
from ksmbench.engine.counters import ROW_COUNTERS, SPACE_COUNTERS
from ksmbench.engine.drive import Timing
from ksmbench.engine.plan import make_plan
from ksmbench.errors import KsmbenchError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.validate.outcome import Played
from ksmbench.validate.placing import EnginePlaces, Places, differing_merge, differing_place, differing_zero_merge
from ksmbench.validate.script import FEW_PAGES

# Plays a trace on some kernel with ksmd stepped at the given times (ns) and these settings.
Play = Callable[[Trace, npt.NDArray[np.int64], dict[str, int]], Played]
# What only ksmd changes: while it has nothing to do, these stay.
_KSMD_ALONE = ("full_scans", "pages_scanned", "pages_shared", "pages_sharing", "pages_unshared", "pages_skipped")


@dataclass(frozen=True)
class Replayed:
    """What the engine did: rows as in `Played`, and how many tune events it refused."""

    samples: pl.DataFrame
    spaces: pl.DataFrame
    refused_tunes: int
    places: dict[int, Places]  # time_ns to rows, of traces with few pages
    zero_merges: dict[int, int]  # time_ns to merges with the zero page, of the same, where the design counts them

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """When its batches ran, ns."""
        return self.samples["time_ns"].to_numpy()


@dataclass
class Tally:
    """One counter over all batches that were compared."""

    name: str
    batches: int = 0
    differences: int = 0
    first: str | None = None  # the first difference in words
    first_ns: int | None = None  # and its time

    def see(self, time_ns: int, words: str) -> None:
        """Keep this difference if it is the first."""
        if self.first_ns is None or time_ns < self.first_ns:
            self.first_ns, self.first = time_ns, words


@dataclass
class Agreement:
    """Engine and kernel on one trace."""

    ours: Replayed
    theirs: Played
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def differing(self) -> list[Tally]:
        """The counters that differ, the one that does first in front."""
        return sorted((t for t in self.tallies.values() if t.differences), key=lambda tally: tally.first_ns or 0)

    @property
    def first(self) -> str | None:
        """The first difference in words."""
        return self.differing[0].first if self.differing else None


def replay_batches(trace: Trace, design: str, settings: dict[str, int], *, n_batches: int = 0) -> Replayed:
    """Every batch of a replay in which scanning takes no time, `n_batches` of them or up to the last event."""
    plan = make_plan(trace)
    chosen = designs.find(design)
    complete = designs.encoded(chosen, designs.complete_settings(chosen, settings))
    until = plan.end_ns
    if n_batches:
        until = plan.start_ns + (n_batches - 1) * complete["sleep_millisecs"] * 1_000_000
    seen = EnginePlaces()
    look = seen.look if plan.n_entries <= FEW_PAGES and "frames_ksm" in chosen.counters and chosen.settings else None
    timing = Timing(start_ns=plan.start_ns, until_ns=until, every_batch=True, with_spaces=True, look=look)
    record = chosen.run(trace, plan, complete, timing, check=True)
    if record.wrong:
        raise KsmbenchError(f"{chosen.name}: a recount differs: {'; '.join(record.wrong[:5])}")
    rows, spaces = record.rows, record.spaces
    kept = [(1 + i, name) for i, name in enumerate(ROW_COUNTERS) if name in chosen.counters]
    samples = {"time_ns": rows[:, 0]} | {name: rows[:, i] for i, name in kept}
    about = {name: spaces[:, i] for i, name in enumerate(("time_ns", "space", *SPACE_COUNTERS))}
    return Replayed(
        pl.DataFrame({name: np.ascontiguousarray(column) for name, column in samples.items()}),
        pl.DataFrame({name: np.ascontiguousarray(column) for name, column in about.items()}).with_columns(
            pl.col("space").cast(pl.UInt32)
        ),
        record.refused_tunes,
        seen.places,
        seen.zero_merges if "ksm_zero_pages" in chosen.counters else {},
    )


def idle_times(trace: Trace, ours: Replayed, settings: dict[str, int]) -> npt.NDArray[np.int64]:
    """Times of events at which the engine's ksmd idles because nothing is registered: a step must do nothing then."""
    events, batches = trace.events, ours.times
    run, sleep, unmerged = settings.get("run", 1), settings.get("sleep_millisecs", 20), -1
    found = []
    for row, (time, kind) in enumerate(zip(events.time_ns.tolist(), events.kind.tolist(), strict=True)):
        name = trace.names[events.name[row]] if kind == Kind.TUNE else ""
        value = int(events.value[row])
        if name == "run" and 0 <= value <= 2:
            run = value
            unmerged = time if value == 2 else unmerged
        elif name == "sleep_millisecs" and value >= 0:
            sleep = value
        if row + 1 < len(events.kind) and events.time_ns[row + 1] == time:
            continue
        last = int(np.searchsorted(batches, time, side="right")) - 1
        since = int(batches[last]) if last >= 0 else -1
        if run == 1 and time > since + sleep * 1_000_000 and unmerged <= since:
            found.append(time)
    return np.array(found, np.int64)


def _compare_columns(ours: pl.DataFrame, theirs: pl.DataFrame, names: Iterable[str]) -> dict[str, Tally]:
    # Rows that both have; a difference is told with what both said before it.
    n = min(len(ours), len(theirs))
    times = ours["time_ns"].to_numpy()[:n]
    tallies = {}
    for name in names:
        mine, other = ours[name].to_numpy()[:n], theirs[name].to_numpy()[:n]
        wrong = np.flatnonzero(mine != other)
        tallies[name] = tally = Tally(name, n, len(wrong))
        if len(wrong):
            row = int(wrong[0])
            of = f" of space {ours['space'][row]}" if "space" in ours.columns else ""
            before = f" (both {mine[row - 1]} before)" if row and not of else ""
            batch = len(np.unique(times[: row + 1])) - 1
            told = f"batch {batch} at {times[row] / 1e6:g} ms: {name}{of} is {mine[row]}, the kernel's {other[row]}"
            tally.see(int(times[row]), told + before)
    return tallies


def _compare_alive(ours: Replayed, theirs: Played) -> Tally:
    tally = Tally("spaces alive", len(ours.samples))
    mine, other = (frame.group_by("time_ns").agg(pl.col("space").sort()) for frame in (ours.spaces, theirs.spaces))
    both = mine.join(other, on="time_ns", how="full", suffix="_kernel", coalesce=True).sort("time_ns")
    wrong = both.filter(pl.col("space").ne_missing(pl.col("space_kernel")))
    tally.differences = len(wrong)
    if len(wrong):
        time, living, found = wrong.row(0)
        batch = int(np.searchsorted(ours.times, time))
        told = f"batch {batch} at {time / 1e6:g} ms: spaces {living or 'none'} live, the kernel's {found or 'none'}"
        tally.see(time, told)
    return tally


def _compare_idle(ours: Replayed, steps: pl.DataFrame) -> Tally:
    tally = Tally("nothing to do", len(steps))
    for row in steps.iter_rows(named=True):
        last = int(np.searchsorted(ours.times, row["time_ns"])) - 1
        before = ours.samples.row(last, named=True) if last >= 0 else dict.fromkeys(_KSMD_ALONE, 0)
        names = [name for name in _KSMD_ALONE if name in row and name in before]
        moved = [f"{name} from {before[name]} to {row[name]}" for name in names if row[name] != before[name]]
        if moved:
            tally.differences += 1
            tally.see(
                row["time_ns"],
                f"after batch {last} at {row['time_ns'] / 1e6:g} ms: nothing is registered, but the kernel moves "
                + ", ".join(moved),
            )
    return tally


def _compare_places(ours: Replayed, theirs: Played) -> list[Tally]:
    # Which pages have one frame together, and what merged into it.
    mapped, merged = Tally("page has frame"), Tally("merge events")
    for batch, time in enumerate(ours.times.tolist()):
        if time not in ours.places or time not in theirs.places:
            continue
        mine, other = ours.places[time], theirs.places[time]
        mapped.batches += 1
        wrong = differing_place(mine, other, tells_ksm="frames_ksm" in theirs.samples.columns)
        if wrong:
            mapped.differences += 1
            mapped.see(time, f"batch {batch} at {time / 1e6:g} ms: {wrong}")
        elif time in theirs.merges:
            merged.batches += 1
            wrong = differing_merge(theirs.merges[time], mine, other)
            if time in ours.zero_merges:
                wrong = wrong or differing_zero_merge(theirs.merges[time], ours.zero_merges[time])
            if wrong:
                merged.differences += 1
                merged.see(time, f"batch {batch} at {time / 1e6:g} ms: {wrong}")
    return [tally for tally in (mapped, merged) if tally.batches]


def _of_times(played: Played, times: npt.NDArray[np.int64]) -> Played:
    kept = pl.col("time_ns").is_in(times.tolist())
    return replace(played, samples=played.samples.filter(kept), spaces=played.spaces.filter(kept))


def compare(ours: Replayed, theirs: Played) -> Agreement:
    """Every counter that both have after every batch, those of the spaces, and which page has which frame."""
    result = Agreement(ours, theirs)
    shared = (name for name in ours.samples.columns if name in theirs.samples.columns and name != "time_ns")
    result.tallies = _compare_columns(ours.samples, theirs.samples, shared)
    alive = result.tallies["spaces alive"] = _compare_alive(ours, theirs)
    if not alive.differences:
        names = (name for name in SPACE_COUNTERS if name in theirs.spaces.columns)
        for tally in _compare_columns(ours.spaces, theirs.spaces, names).values():
            tally.name = f"{tally.name} of spaces"
            result.tallies[tally.name] = tally
    result.tallies |= {tally.name: tally for tally in _compare_places(ours, theirs)}
    return result


def _compare_refusals(trace: Trace, ours: Replayed, theirs: Played) -> Tally:
    tally = Tally("refused stores", 1, int(ours.refused_tunes != len(theirs.refused)))
    if tally.differences:
        rows = ", ".join(f"row {row} ({os.strerror(error)})" for row, error in list(theirs.refused.items())[:8])
        told = f"until the end {ours.refused_tunes} stores are refused, by the kernel {len(theirs.refused)}: {rows}"
        tally.see(int(trace.events.time_ns[-1]), told)
    return tally


def agree(trace: Trace, settings: dict[str, int], play: Play, *, design: str) -> Agreement:
    """Replay `trace`, play it on a kernel with the same batches, and compare."""
    ours = replay_batches(trace, design, settings)
    idle = np.setdiff1d(idle_times(trace, ours, settings), ours.times)
    end = trace.events.time_ns[-1:]  # what comes after the last batch is played as well, and then not compared
    played = play(trace, np.unique(np.concatenate([ours.times, idle, end])), settings)
    result = compare(ours, _of_times(played, ours.times))
    steps = played.samples.filter(pl.col("time_ns").is_in(idle.tolist()))
    result.tallies["nothing to do"] = _compare_idle(ours, steps)
    result.tallies["refused stores"] = _compare_refusals(trace, ours, played)
    return result
