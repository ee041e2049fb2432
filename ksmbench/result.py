"""What a replay gives back: tables of samples, a summary, and where they came from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from ksmbench.metrics.sharing import Sharing


@dataclass(frozen=True)
class Result:
    """One replay of one trace through one design.

    `samples` has `time_ns` and the columns of `ksmbench.engine.counters.SAMPLED`, int64, null where the design has no
    such counter, then those of REVIEW_COUNTERS that it has. `summary` is what `ksmbench.metrics.summary` defines.
    `provenance` names trace, design, versions.
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
        """One row per sample and living space: `time_ns`, `space` and the kernel's counters of a process.

        Made on demand by replaying once more: most callers never look, and it can be far larger than `samples`.
        """
        return self.make_spaces()
