"""A kernel for tests: the engine itself, perhaps with other settings than it is told."""

import numpy as np
import numpy.typing as npt
import polars as pl

from ksmbench import designs
from ksmbench.trace.columns import Trace
from ksmbench.validate.agreement import Play, replay_batches
from ksmbench.validate.outcome import Played


def engine_as_kernel(**other: int) -> Play:
    """Plays by replaying, with `other` instead of the settings it is given; steps that find nothing are repeats."""

    def play(trace: Trace, times: npt.NDArray[np.int64], settings: dict[str, int]) -> Played:
        ours = replay_batches(trace, designs.DEFAULT, settings | other)
        wanted = pl.DataFrame({"time_ns": times})
        samples = wanted.join_asof(ours.samples.sort("time_ns"), on="time_ns")
        return Played(samples, ours.spaces, [0] * len(times), dict.fromkeys(range(ours.refused_tunes), 22), ours.places)

    return play
