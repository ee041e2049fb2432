"""What a comparison says, in sentences computed from its numbers."""

import math
from typing import Any

from ksmbench.comparing import BOUNDS
from ksmbench.report.table import show

Row = dict[str, Any]
ABOUT_EQUAL = 0.995  # of the highest saving: among these the one with the least CPU time is named first


def _mib(value: float | None) -> str:
    return f"{show(value, 1 / 2**20, 1)} MiB"


def _percent(value: float | None, digits: int = 1) -> str:
    return f"{show(value, 100, digits)} %"


def _ceiling(floor_bytes: int, oracle_bytes: float) -> str:
    if oracle_bytes <= 0:
        return "Nothing could be saved at the end of this trace: no two mergeable pages are equal."
    share = f", {_percent(oracle_bytes / floor_bytes)} of the {_mib(floor_bytes)} that are used" if floor_bytes else ""
    return f"At the end of this trace at most {_mib(oracle_bytes)} can be saved{share} without merging."


def _most(row: Row, *, alone: bool) -> str:
    verb = "saves most," if alone else "takes the least CPU time of those that save most:"
    text = f"`{row['label']}` {verb} {_mib(row['saved_bytes'])}"
    if row.get("oracle_share") is not None:
        text += f" ({_percent(row['oracle_share'])} of what the oracle saves)"
    if row.get("scan_cost_cpu_share") is not None:
        text += f", for {_percent(row['scan_cost_cpu_share'], 2)} of one CPU"
    if row.get("time_to_90_percent_s") is not None:
        text += f"; nine tenths of it are reached after {show(row['time_to_90_percent_s'])} s"
    return text + "."


def _cpu(row: Row) -> float:
    return math.inf if row.get("scan_cost_cpu_share") is None else float(row["scan_cost_cpu_share"])


def _as_good(row: Row) -> str:
    text = f"`{row['label']}` saves about as much"
    if row.get("scan_cost_cpu_share") is not None:
        text += f" for {_percent(row['scan_cost_cpu_share'], 2)} of one CPU"
    if row.get("time_to_90_percent_s") is not None:
        text += f", nine tenths of it after {show(row['time_to_90_percent_s'])} s"
    return text + "."


def _cheapest(rows: list[Row], most: Row) -> list[str]:
    priced = [row for row in rows if row.get("cpu_s_per_gib_saved") is not None]
    if len(priced) < 2:
        return []
    cheap = min(priced, key=lambda row: float(row["cpu_s_per_gib_saved"]))
    price = f"{show(cheap['cpu_s_per_gib_saved'], 1, 2)} CPU seconds per GiB"
    if cheap is most:
        return [f"`{cheap['label']}` is also the cheapest, {price}."]
    share = f"{_percent(cheap['oracle_share'])} of the oracle's" if cheap.get("oracle_share") is not None else "part"
    return [f"`{cheap['label']}` saves at the lowest price, {price}, but only {_mib(cheap['saved_bytes'])} ({share})."]


def _breaks(rows: list[Row]) -> list[str]:
    counted = [row for row in rows if row.get("cow_breaks") is not None]
    if len(counted) < 2:
        return []
    few, many = min(counted, key=lambda row: row["cow_breaks"]), max(counted, key=lambda row: row["cow_breaks"])
    if few["cow_breaks"] == many["cow_breaks"]:
        return []
    return [
        f"Copy-on-write breaks range from {show(few['cow_breaks'], 1, 0)} (`{few['label']}`) "
        f"to {show(many['cow_breaks'], 1, 0)} (`{many['label']}`)."
    ]


def chosen_row(rows: list[Row]) -> Row | None:
    """The row that is named first: of those that save most, the one with the least CPU time; None where none saves."""
    designs = [row for row in rows if row["design"] not in BOUNDS and row.get("saved_bytes") is not None]
    highest = max((float(row["saved_bytes"]) for row in designs), default=0.0)
    if highest <= 0:
        return None
    return min((row for row in designs if row["saved_bytes"] >= ABOUT_EQUAL * highest), key=_cpu)


def findings(rows: list[Row], floor_bytes: int, oracle_bytes: float) -> list[str]:
    """Sentences about one trace: `rows` of its summary with `label`; at its end `none` uses `floor_bytes` and
    `oracle` saves `oracle_bytes`.
    """
    said = [_ceiling(floor_bytes, oracle_bytes)]
    designs = [row for row in rows if row["design"] not in BOUNDS and row.get("saved_bytes") is not None]
    if not designs:
        return [*said, "Only bounds were replayed; name a design, such as `ksm-6.18`."]
    highest = max(float(row["saved_bytes"]) for row in designs)
    if highest <= 0:
        return [*said, "No design saved memory."]
    best = [row for row in designs if row["saved_bytes"] >= ABOUT_EQUAL * highest]
    most = min(best, key=_cpu)
    said.append(_most(most, alone=len(best) == 1))
    said += [_as_good(row) for row in best if row is not most]
    savers = [row for row in designs if row["saved_bytes"] > 0]
    return said + _cheapest(savers, most) + _breaks(savers)


def against_default(rows: list[Row]) -> list[str]:
    """Sentences about each row that `is_default`: what saves more at no more CPU time, what as much for less."""
    said = []
    for default in rows:
        saved, cpu = default.get("saved_bytes"), default.get("scan_cost_cpu_share")
        if not default.get("is_default") or saved is None or cpu is None:
            continue
        text = f"The default of `{default['design']}` saves {_mib(saved)} for {_percent(cpu, 2)} of one CPU"
        known = [
            row for row in rows if row.get("saved_bytes") is not None and row.get("scan_cost_cpu_share") is not None
        ]
        more = [row for row in known if row["scan_cost_cpu_share"] <= cpu and row["saved_bytes"] > saved]
        less = [row for row in known if row["saved_bytes"] >= saved and row["scan_cost_cpu_share"] < cpu]
        best = max(more, key=lambda row: float(row["saved_bytes"]), default=None)
        cheap = min(less, key=_cpu, default=None)
        if best is not None:
            price = _percent(best["scan_cost_cpu_share"], 2)
            text += f"; `{best['label']}` saves {_mib(best['saved_bytes'])} for {price}"
        if cheap is not None and cheap is not best:
            text += f"; `{cheap['label']}` saves no less for {_percent(cheap['scan_cost_cpu_share'], 2)}"
        said.append(text + ("." if best or cheap else "; nothing here is better in both."))
    return said
