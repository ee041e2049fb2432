"""What a metric is: its name, its formula, and what the formula reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

GROUPS = ("memory", "merging", "work", "tracking")


@dataclass(frozen=True)
class Unsampled:
    """What a replay tells besides its samples of memory that is held for longer than needed."""

    dead_ns: float = 0.0  # integral of dead_pages over time
    longest_delay_ns: int = 0  # from an exit until the memory was free
    copies_at_exit: int = 0
    copies_at_stop: int = 0
    peak_frames: int = 0


@dataclass(frozen=True)
class Inputs:
    """What the formulas read: the samples and their last rows, and what a replay tells besides."""

    last: dict[str, Any]
    none: dict[str, Any]
    oracle: dict[str, Any]
    times: pl.Series
    saved_pages: pl.Series  # frames of `none` minus frames, at each sample
    page_size: int
    mean_frames: float
    mean_frames_none: float
    metadata_bytes: int
    start_ns: int
    until_ns: int
    samples: pl.DataFrame
    unsampled: Unsampled = field(default_factory=Unsampled)

    @property
    def saved_bytes(self) -> int:
        """Frames that `none` uses at the end, minus frames used, in bytes."""
        return int(self.none["frames"] - self.last["frames"]) * self.page_size

    @property
    def oracle_saved_bytes(self) -> int:
        """The same of `oracle`."""
        return int(self.none["frames"] - self.oracle["frames"]) * self.page_size

    @property
    def seconds(self) -> float:
        """Length of the replay."""
        return (self.until_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class Metric:
    """One number of a summary: `better` says which way is good, "more", "less" or ""; a unit "share" is a part of 1."""

    name: str
    group: str  # one of GROUPS
    unit: str
    formula: str
    meaning: str
    compute: Callable[[Inputs], float | int | None]
    better: str = ""


def ratio(above: float | int | None, below: float | int | None) -> float | None:
    """`above` / `below`; None over zero, and where one of them is not counted."""
    return above / below if above is not None and below else None


def last(name: str) -> Callable[[Inputs], int | None]:
    """The column `name` at the end, None where the design does not have it."""

    def compute(inputs: Inputs) -> int | None:
        value: int | None = inputs.last.get(name)
        return value

    return compute


def most(name: str) -> Callable[[Inputs], int | None]:
    """The same at its highest sample."""

    def compute(inputs: Inputs) -> int | None:
        if name not in inputs.samples.columns:
            return None
        value: Any = inputs.samples[name].max()
        return None if value is None else int(value)

    return compute
