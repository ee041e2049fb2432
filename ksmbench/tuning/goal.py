"""What settings are to reach, and which of several reach it best."""

from dataclasses import dataclass
from typing import Any

from ksmbench.errors import UsageError

Row = dict[str, Any]  # of a sweep's summary, with `reached_s` and `changes`, how many settings are not the default
ABOUT_EQUAL = 0.995  # of the highest saving: among these the least CPU time decides
ABOUT_AS_CHEAP = 1.02  # times the least CPU time: among these what changes fewest of the kernel's defaults


def _cpu(row: "Row") -> float:
    return float(row["scan_cost_cpu_share"] or 0.0)


@dataclass(frozen=True)
class Goal:
    """Limits, each None where there is none; at least one is set."""

    max_cpu: float | None = None  # share of one CPU
    min_saving: int | None = None  # bytes, after the design's own structures
    min_share: float | None = None  # the same as a share of what the oracle saves
    within: float | None = None  # seconds until the saving is there: the one asked for, else nine tenths of its own

    def __post_init__(self) -> None:
        if all(limit is None for limit in (self.max_cpu, self.min_saving, self.min_share, self.within)):
            raise UsageError("say what to reach: --max-cpu 10%, --min-saving 2G or 80%, or --within 300s")

    @property
    def asks_for_saving(self) -> bool:
        """Whether a saving is a limit; else it is to be as high as possible."""
        return self.min_saving is not None or self.min_share is not None

    def wanted_bytes(self, oracle_bytes: float) -> float:
        """Net bytes that are to be saved, where the oracle saves `oracle_bytes`."""
        return max(self.min_saving or 0, (self.min_share or 0) * oracle_bytes)

    def __str__(self) -> str:
        told = []
        if self.max_cpu is not None:
            told.append(f"at most {100 * self.max_cpu:g} % of one CPU")
        if self.min_saving is not None:
            told.append(f"at least {self.min_saving / 2**20:,.1f} MiB saved net")
        if self.min_share is not None:
            told.append(f"at least {100 * self.min_share:g} % of what the oracle saves, net")
        if self.within is not None:
            told.append(f"within {self.within:g} s")
        return ", ".join(told)

    def misses(self, row: Row) -> list[str]:
        """Sentences on the limits that `row` breaks; none where it reaches the goal."""
        said = []
        if self.max_cpu is not None and (row["scan_cost_cpu_share"] or 0) > self.max_cpu:
            said.append(f"takes {100 * row['scan_cost_cpu_share']:.2f} % of one CPU")
        possible = row["oracle_saved_bytes"]
        if self.asks_for_saving and row["saved_bytes_net"] < self.wanted_bytes(possible):
            most = f", and even the oracle {possible / 2**20:,.1f}" if possible < self.wanted_bytes(possible) else ""
            said.append(f"saves {row['saved_bytes_net'] / 2**20:,.1f} MiB net{most}")
        elif row["saved_bytes_net"] <= 0:
            said.append("saves nothing net")
        if self.within is not None and (row["reached_s"] is None or row["reached_s"] > self.within):
            late = row["reached_s"]
            said.append(
                f"is not there when the trace ends, after {row['seconds']:,.1f} s"
                if late is None
                else f"is there after {late:,.1f} s"
            )
        return said

    def _distance(self, row: Row) -> float:
        # How far from the goal, as a sum of shares of its limits.
        far = 0.0
        if self.max_cpu is not None:
            far += max(0.0, (row["scan_cost_cpu_share"] or 0) / self.max_cpu - 1)
        if self.asks_for_saving:
            wanted = self.wanted_bytes(row["oracle_saved_bytes"])
            far += max(0.0, 1 - row["saved_bytes_net"] / wanted) if wanted else 0.0
        if self.within is not None:
            reached = row["reached_s"] if row["reached_s"] is not None else row["seconds"] * 2 + self.within
            far += max(0.0, reached / self.within - 1) if self.within else reached
        return far

    def ranked(self, rows: list[Row]) -> list[Row]:
        """`rows`, best first: what reaches the goal, then what comes nearest to it."""
        good = [row for row in rows if not self.misses(row)]
        highest = max((row["saved_bytes_net"] for row in good), default=0)

        def is_short(row: Row) -> bool:
            return not self.asks_for_saving and row["saved_bytes_net"] < ABOUT_EQUAL * highest

        cheapest = min((_cpu(row) for row in good if not is_short(row)), default=0.0)

        def price(row: Row) -> tuple[float, ...]:
            saved = -float(row["saved_bytes_net"])
            if is_short(row):
                return (2, saved, _cpu(row))
            if _cpu(row) <= ABOUT_AS_CHEAP * cheapest:
                return (0, row["changes"], _cpu(row), saved)
            return (1, _cpu(row), row["changes"], saved)

        others = [row for row in rows if self.misses(row)]
        return sorted(good, key=price) + sorted(others, key=lambda row: (self._distance(row), -row["saved_bytes_net"]))
