"""What a replay, a comparison and a sweep give back: tables, and where they came from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from ksmbench.metrics.sharing import Sharing

KEYS = ("trace", "design", "settings")  # what rows about several replays lead with
UNFINISHED = "unfinished"  # in the folder of a sweep: its finished replays, until the report is there


@dataclass(frozen=True)
class Result:
    """One replay of one trace through one design.

    `samples` has one row per sample, in order of time: `time_ns` and the columns of `ksmbench.engine.counters.SAMPLED`,
    int64, null where the design has no such counter; then those of REVIEW_COUNTERS and WORK_COUNTERS that it has, and
    where a policy turns settings `run`, `pages_to_scan` and `sleep_millisecs`. `summary` has the numbers that
    `ksmbench.metrics.summary.METRICS` define, with their formulas and units; None for a ratio over zero and for what
    the design does not count. `provenance` names the trace, the cost profile, the versions and the host, ready for
    JSON.
    """

    design: str
    settings: dict[str, int | str]  # every setting of the design, defaults included
    options: dict[str, Any]  # sample, cost, until, mergeable, ignore_tune
    samples: "pl.DataFrame"
    summary: dict[str, float | int | None]
    provenance: dict[str, Any]
    sharing: "Sharing | None" = field(default=None, kw_only=True)  # where it was asked for
    stores: list[tuple[int, str, int]] = field(default_factory=list, kw_only=True)  # of the policy: ns, setting, value
    make_spaces: Callable[[], "pl.DataFrame"] = field(repr=False)

    @property
    def spaces(self) -> "pl.DataFrame":
        """One row per sample and living space: `time_ns`, `space` (uint32, its row in the trace) and SPACE_COUNTERS.

        The latter are int64, the kernel's counters of a process (`ksmbench.engine.counters`). Made on demand by
        replaying once more: most callers never look, and it can be far larger than `samples`. Raises `UsageError` where
        it would need more than the replay's `max_memory`.
        """
        return self.make_spaces()


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


@dataclass(frozen=True)
class Sweep:
    """What `sweep` found.

    `samples` leads with trace, design, settings (text) and goes on as a replay's. `summary` has one row per trace and
    combination: the same three, a column for each varied setting, every key of a replay's summary, and `on_front`: does
    nothing else on this trace save as much for less CPU time, or more for as much? `bounds` are the samples of `none`
    and `oracle`. `defaults` and `default_samples` are the same of each design with its default settings. `refused` has
    the combinations that no kernel takes, with the reason.
    """

    samples: "pl.DataFrame"
    summary: "pl.DataFrame"
    bounds: "pl.DataFrame"
    defaults: "pl.DataFrame"
    default_samples: "pl.DataFrame"
    refused: "pl.DataFrame"
    page_size: dict[str, int]  # of every trace, bytes
    paths: dict[str, str]  # of every trace
    notes: dict[str, str]  # what every trace says about itself
    designs: list[str]  # as asked for
    vary: dict[str, list[Any]]
    options: dict[str, Any]  # sample, cost, until, mergeable, ignore_tune, host_memory, as asked for
    provenance: dict[str, dict[str, Any]]  # of each trace, of one replay on it
    output: Path | None = None
    sharing: "dict[tuple[str, str, str], Sharing]" = field(default_factory=dict, repr=False)  # by KEYS, of few
