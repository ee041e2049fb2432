"""The closed forms against what the engine does, or what a kernel did."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ksmbench import designs
from ksmbench.validate.agreement import replay_batches
from ksmbench.validate.kernel import batch_times, host_play
from ksmbench.validate.sysfs import KsmSession
from workloads.closed_forms.telling import Case


@dataclass(frozen=True)
class Checked:
    """How many values were compared, and what differs in words."""

    values: int
    differences: tuple[str, ...]


def engine_samples(case: Case, design: str = designs.DEFAULT) -> pl.DataFrame:
    """A row after every batch of the engine, whose structures are recounted at the end."""
    return replay_batches(case.trace, design, {}).samples


def check(case: Case, samples: pl.DataFrame) -> Checked:
    """Lay every station beside its row; counters that `samples` does not have are left out."""
    values, differences = 0, []
    for station in case.stations:
        if station.batch >= len(samples):
            differences.append(f"{station.told}: there is no batch {station.batch}")
            continue
        row = samples.row(station.batch, named=True)
        for name, expected in station.counters.items():
            found = row.get(name)
            values += found is not None
            if found is not None and found != expected:
                differences.append(f"{station.told}: {name} is {found}, by the formula {expected}")
    return Checked(values, tuple(differences))


def kernel_samples(session: KsmSession | None = None) -> Callable[[Case], pl.DataFrame | None]:
    """Plays a case on the running kernel: a row after every batch; None where it lacks the NUMA nodes.

    `session` is one that the caller holds; otherwise each case has its own.
    """
    play = host_play(frames=True, session=session)
    n_nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or 1

    def samples(case: Case) -> pl.DataFrame | None:
        if int(case.trace.events.node.max()) >= n_nodes:
            return None
        return play(case.trace, batch_times(case.trace, 1 + case.stations[-1].batch), {}).samples

    return samples
