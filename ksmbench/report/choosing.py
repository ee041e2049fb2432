"""Which design a report names first, by a rule that it says."""

import math
from typing import Any

from ksmbench.specs import BOUNDS

Row = dict[str, Any]
# What one CPU has to bring at least, in bytes. Without it a trace on which hardly anything can be saved would have
# ksmd take much CPU time for most of nothing.
LEAST_PER_CPU = 1000 << 20


def savers(rows: list[Row]) -> list[Row]:
    """The designs among `rows` that save anything at the end."""
    return [row for row in rows if row["design"] not in BOUNDS and (row.get("saved_bytes") or 0) > 0]


def cpu_of(row: Row) -> float:
    """Share of one CPU; infinite where it is unknown: the design does not tell, or scanning was replayed at no cost."""
    return float(row.get("scan_cost_cpu_share") or math.inf)


def net_of(row: Row) -> float:
    """Bytes saved at the end less the design's own memory, where it tells that."""
    net = row.get("saved_bytes_net")
    return float(row["saved_bytes"] if net is None else net)


def wanted_per_cpu(row: Row) -> float:
    """Net bytes that one CPU has to bring on this row's trace: what the oracle saves, and LEAST_PER_CPU at least."""
    return max(float(row.get("oracle_saved_bytes") or 0), LEAST_PER_CPU)


def net_worth(row: Row) -> float:
    """CPUs that its net saving is worth, less what it takes: the higher the better; negative where it costs more."""
    return net_of(row) / wanted_per_cpu(row) - cpu_of(row)


def rule(row: Row) -> str:
    """The rule by which the `chosen_row` of this row's trace is named, in words."""
    wanted, least = (bytes_ / 100 / 2**20 for bytes_ in (wanted_per_cpu(row), LEAST_PER_CPU))
    return (
        f"another 1 % of one CPU has to bring another {wanted:,.1f} MiB net (1 % of what the oracle saves, and at "
        f"least {least:,.1f} MiB)"
    )


def highest(rows: list[Row]) -> Row | None:
    """The row that saves most net, of equal ones the one with the least CPU time; None where none saves."""
    return min(savers(rows), key=lambda row: (-net_of(row), cpu_of(row)), default=None)


def chosen_row(rows: list[Row]) -> Row | None:
    """The row that is named first; None where none saves.

    It has the highest `net_worth`: what any dearer design saves more does not pay for its CPU time by the `rule`, and
    every cheaper one saves too little for what it spares. Where CPU times are unknown it is the `highest`.
    """
    told = [row for row in savers(rows) if math.isfinite(cpu_of(row))]
    return min(told, key=lambda row: (-net_worth(row), cpu_of(row))) if told else highest(rows)
