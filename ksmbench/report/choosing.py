"""Which design a report names first, by a rule that it says."""

import math
from typing import Any

from ksmbench.comparing import BOUNDS

Row = dict[str, Any]
WORTH = 1.0  # shares of one CPU that a share of the oracle's saving may cost
RULE = "another 1 % of what the oracle saves is worth at most another 1 % of one CPU"


def savers(rows: list[Row]) -> list[Row]:
    """The designs among `rows` that save anything at the end."""
    return [row for row in rows if row["design"] not in BOUNDS and (row.get("saved_bytes") or 0) > 0]


def cpu_of(row: Row) -> float:
    """Share of one CPU; infinite where the design does not tell."""
    share = row.get("scan_cost_cpu_share")
    return math.inf if share is None else float(share)


def net_worth(row: Row) -> float:
    """The share of the oracle's saving, less what it costs: the higher the better; may be negative."""
    return float(row["oracle_share"]) - cpu_of(row) / WORTH


def highest(rows: list[Row]) -> Row | None:
    """The row that saves most, of equal ones the one with the least CPU time; None where none saves."""
    return min(savers(rows), key=lambda row: (-row["saved_bytes"], cpu_of(row)), default=None)


def chosen_row(rows: list[Row]) -> Row | None:
    """The row that is named first; None where none saves.

    It has the highest `net_worth`: going on from it to any dearer design costs more than RULE allows, and every cheaper
    one gives up more than it spares. Where CPU times are unknown it is the `highest`.
    """
    told = [row for row in savers(rows) if row.get("oracle_share") is not None and math.isfinite(cpu_of(row))]
    if not told:
        return highest(rows)
    return min(told, key=lambda row: (-net_worth(row), cpu_of(row)))
