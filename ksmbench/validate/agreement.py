"""A trace through the engine and through the kernel, side by side: what was compared, and where they first differ."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ksmbench import designs
from ksmbench.engine.counters import SAMPLED, SPACE_COUNTERS
from ksmbench.engine.drive import Timing
from ksmbench.engine.plan import make_plan
from ksmbench.errors import KsmbenchError
from ksmbench.trace.columns import Trace
from ksmbench.validate.kernel import Told, play_on_kernel
from ksmbench.validate.outcome import Played
from ksmbench.validate.sysfs import KsmSession


@dataclass(frozen=True)
class Replayed:
    """What the engine did: rows as in `Played`, and how many tune events it refused."""

    samples: pl.DataFrame
    spaces: pl.DataFrame
    refused_tunes: int

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

    def add(self, other: "Tally", where: str) -> None:
        """Count `other` in, which is of the scenario `where`."""
        self.batches += other.batches
        self.differences += other.differences
        if self.first is None and other.first is not None:
            self.first = f"{where}{other.first}"


@dataclass
class Agreement:
    """Engine and kernel on one trace."""

    ours: Replayed
    theirs: Played
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether any counter differed after any batch."""
        return any(tally.differences for tally in self.tallies.values())

    @property
    def first(self) -> str | None:
        """The earliest difference in words."""
        found = [tally.first for tally in self.tallies.values() if tally.first]
        return min(found, key=lambda text: int(text.split()[1].rstrip(",:")), default=None)


def replay_batches(
    trace: Trace, design: str, settings: dict[str, int], *, n_batches: int = 0, check: bool = True
) -> Replayed:
    """Every batch of a replay in which scanning takes no time, `n_batches` of them or up to the last event."""
    plan = make_plan(trace)
    chosen = designs.find(design)
    complete = designs.complete_settings(chosen, settings)
    until = plan.end_ns
    if n_batches:
        until = plan.start_ns + (n_batches - 1) * complete["sleep_millisecs"] * 1_000_000
    timing = Timing(start_ns=plan.start_ns, until_ns=until, every_batch=True, with_spaces=True)
    record = chosen.run(trace, plan, complete, timing, check=check)
    if record.wrong:
        raise KsmbenchError(f"{chosen.name}: a recount differs: {'; '.join(record.wrong[:5])}")
    rows, spaces = record.rows, record.spaces
    samples = {"time_ns": rows[:, 0]} | {
        name: rows[:, 1 + i] for i, name in enumerate(SAMPLED) if name in chosen.counters
    }
    about = {name: spaces[:, i] for i, name in enumerate(("time_ns", "space", *SPACE_COUNTERS))}
    return Replayed(
        pl.DataFrame({name: np.ascontiguousarray(column) for name, column in samples.items()}),
        pl.DataFrame({name: np.ascontiguousarray(column) for name, column in about.items()}).with_columns(
            pl.col("space").cast(pl.UInt32)
        ),
        record.refused_tunes,
    )


def _compare_columns(ours: pl.DataFrame, theirs: pl.DataFrame, names: Iterator[str]) -> dict[str, Tally]:
    # Rows that both have; a difference is told with what both said before it.
    n = min(len(ours), len(theirs))
    times, batch = ours["time_ns"].to_numpy()[:n], np.unique(ours["time_ns"].to_numpy()[:n], return_inverse=True)[1]
    tallies = {}
    for name in names:
        mine, other = ours[name].to_numpy()[:n], theirs[name].to_numpy()[:n]
        wrong = np.flatnonzero(mine != other)
        tallies[name] = tally = Tally(name, n, len(wrong))
        if len(wrong):
            row = int(wrong[0])
            of = f", space {ours['space'][row]}" if "space" in ours.columns else ""
            before = f" (both {mine[row - 1]} before)" if row and not of else ""
            tally.first = (
                f"batch {batch[row]}, {times[row] / 1e6:g} ms{of}: {name} {mine[row]}, kernel {other[row]}{before}"
            )
    return tallies


def compare(ours: Replayed, theirs: Played) -> Agreement:
    """Every counter that both have after every batch, those of the spaces, and how many stores were refused."""
    result = Agreement(ours, theirs)
    shared = (name for name in ours.samples.columns if name in theirs.samples.columns and name != "time_ns")
    result.tallies = _compare_columns(ours.samples, theirs.samples, shared)
    alive = Tally("spaces alive", len(ours.spaces))
    mine, other = (frame.select("time_ns", "space") for frame in (ours.spaces, theirs.spaces))
    if not mine.equals(other):
        alive.differences = 1
        alive.first = "batch 0: the spaces that live are not the same"
    result.tallies[alive.name] = alive
    if not alive.differences:
        names = (name for name in SPACE_COUNTERS if name in theirs.spaces.columns)
        of_spaces = _compare_columns(ours.spaces, theirs.spaces, names)
        result.tallies |= {f"space {name}": tally for name, tally in of_spaces.items()}
    stores = Tally("refused stores", 1, int(ours.refused_tunes != len(theirs.refused)))
    if stores.differences:
        stores.first = f"batch {len(ours.samples)}: {ours.refused_tunes} refused stores, kernel {len(theirs.refused)}"
    result.tallies[stores.name] = stores
    return result


def agree(
    trace: Trace,
    settings: dict[str, int],
    *,
    design: str = designs.NEWEST_KSM,
    n_batches: int = 0,
    frames: bool = False,
    session: KsmSession | None = None,
    progress: Told | None = None,
) -> Agreement:
    """Replay `trace`, play it on the running kernel with the same batches, and compare."""
    ours = replay_batches(trace, design, settings, n_batches=n_batches)
    options: dict[str, Any] = {**settings, "frames": frames, "session": session, "progress": progress}
    return compare(ours, play_on_kernel(trace, times=ours.times, **options))
