"""What a comparison says, in sentences computed from its numbers."""

import math
from typing import Any

from ksmbench.report.choosing import chosen_row, cpu_of, highest, net_of, net_worth, rule, savers
from ksmbench.report.table import show
from ksmbench.specs import BOUNDS

Row = dict[str, Any]


def _mib(value: float | None) -> str:
    return f"{show(value, 1 / 2**20, 1)} MiB"


def _percent(value: float | None, digits: int = 1) -> str:
    return f"{show(value, 100, digits)} %"


def _ceiling(floor_bytes: int, oracle_bytes: float) -> str:
    if oracle_bytes <= 0:
        return "Nothing could be saved at the end of this trace: no two mergeable pages are equal."
    share = f", {_percent(oracle_bytes / floor_bytes)} of the {_mib(floor_bytes)} that are used" if floor_bytes else ""
    return f"At the end of this trace at most {_mib(oracle_bytes)} can be saved{share} without merging."


def _found(row: Row) -> str:
    # What it saves, and of what the oracle saves.
    share = (
        f" ({_percent(row['oracle_share'])} of what the oracle saves)" if row.get("oracle_share") is not None else ""
    )
    return f"{_mib(row['saved_bytes'])}{share}"


def _price(row: Row) -> str:
    return f" for {_percent(cpu_of(row), 2)} of one CPU" if math.isfinite(cpu_of(row)) else ""


def _why(chosen: Row, most: Row, n_savers: int) -> str:
    # What is named first, and by which rule.
    verb = "saves most net:" if chosen is most and n_savers > 1 else "saves"
    text = f"`{chosen['label']}` {verb} {_found(chosen)}, {_mib(net_of(chosen))} net,{_price(chosen)}".rstrip(",") + "."
    if not math.isfinite(cpu_of(chosen)):
        return text
    if net_worth(chosen) < 0:
        return (
            f"{text} By the rule of this page, {rule(chosen)}, nothing here is worth its CPU time; this comes nearest."
        )
    if n_savers == 1:
        return text
    rest = "nothing cheaper saves enough" if chosen is most else "what saves more costs more than that"
    return f"{text} It is named first by a rule: {rule(chosen)}; {rest}."


def _most(named: Row, most: Row) -> list[str]:
    # Who saves most, where that is not the one named first.
    if named is most:
        return []
    text = f"`{most['label']}` saves most net, {_mib(net_of(most))}{_price(most)}"
    more, dearer = net_of(most) - net_of(named), cpu_of(most) - cpu_of(named)
    if not math.isfinite(dearer):
        return [f"{text}: {_mib(more)} more."]
    size = _percent(abs(dearer), 2)
    price = f"{size} of one CPU {'more' if dearer >= 0 else 'less'}" if size != _percent(0.0, 2) else "as much CPU time"
    return [f"{text}: {_mib(more)} more for {price}."]


def _in_between(rows: list[Row]) -> str:
    # Where nothing is saved at the end, something may have been before.
    designs = [row for row in rows if row["design"] not in BOUNDS and (row.get("saved_bytes_mean") or 0) > 0]
    text = "At the end no design saves memory"
    if not designs:
        return f"{text}."
    most = max(designs, key=lambda row: float(row["saved_bytes_mean"]))
    price = _price(most)
    found = f"`{most['label']}` saved most, {_mib(most['saved_bytes_mean'])}{',' if price else ''}{price}"
    return f"{text}; on average over the trace {found}."


def _cheapest(rows: list[Row], named: list[Row | None]) -> list[str]:
    priced = [row for row in rows if row.get("cpu_s_per_gib_saved")]
    if len(priced) < 2:
        return []
    cheap = min(priced, key=lambda row: float(row["cpu_s_per_gib_saved"]))
    price = f"{show(cheap['cpu_s_per_gib_saved'], 1, 2)} CPU seconds per GiB"
    if cheap in named:
        return [f"`{cheap['label']}` also saves at the lowest price, {price}."]
    return [f"`{cheap['label']}` saves at the lowest price, {price}: {_found(cheap)}."]


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


def findings(rows: list[Row], floor_bytes: int, oracle_bytes: float, named: Row | None = None) -> list[str]:
    """Sentences about one trace: `rows` of its summary with `label`; at its end `none` uses `floor_bytes` and
    `oracle` saves `oracle_bytes`. `named` is the row that another rule than this page's has chosen and told of.
    """
    said = [_ceiling(floor_bytes, oracle_bytes)]
    if all(row["design"] in BOUNDS or row.get("saved_bytes") is None for row in rows):
        return [*said, "Only bounds were replayed; name a design, such as `ksm-6.18`."]
    chosen, most, saving = named or chosen_row(rows), highest(rows), savers(rows)
    if chosen is None or most is None:
        return [*said, _in_between(rows)]
    said += [] if named else [_why(chosen, most, len(saving))]
    return said + _most(chosen, most) + _cheapest(saving, [chosen, most]) + _breaks(saving)


def headline(chosen: Row | None) -> str | None:
    """The one sentence to read: net saving, CPU, time, settings."""
    if chosen is None:
        return None
    if math.isfinite(cpu_of(chosen)) and net_worth(chosen) < 0:
        return (
            f"Merging is hardly worth its CPU time here: `{chosen['label']}` comes nearest, with "
            f"{_mib(net_of(chosen))} saved, net of KSM's own memory,{_price(chosen)}."
        )
    text = f"{_mib(net_of(chosen))} would be saved, net of KSM's own memory"
    if _price(chosen):
        text += f",{_price(chosen)}"
    reached = chosen.get("time_to_90_percent_s")
    if reached is not None and reached < (chosen.get("seconds") or math.inf):  # at the last sample it may be any time
        text += f", nine tenths of it after {show(chosen['time_to_90_percent_s'])} s"
    return f"{text}, with `{chosen['label']}`."


def against_default(rows: list[Row]) -> list[str]:
    """Sentences about each row that `is_default`: what saves more at no more CPU time, what as much for less."""
    said = []
    for default in rows:
        saved, cpu = default.get("saved_bytes"), default.get("scan_cost_cpu_share")
        if not default.get("is_default") or saved is None or not cpu:
            continue
        text = f"The default of `{default['design']}` saves {_mib(saved)} for {_percent(cpu, 2)} of one CPU"
        known = [
            row for row in rows if row.get("saved_bytes") is not None and row.get("scan_cost_cpu_share") is not None
        ]
        more = [row for row in known if row["scan_cost_cpu_share"] <= cpu and row["saved_bytes"] > saved]
        less = [row for row in known if row["saved_bytes"] >= saved and row["scan_cost_cpu_share"] < cpu]
        best = max(more, key=lambda row: float(row["saved_bytes"]), default=None)
        cheap = min(less, key=cpu_of, default=None)
        if best is not None:
            price = _percent(best["scan_cost_cpu_share"], 2)
            text += f"; `{best['label']}` saves {_mib(best['saved_bytes'])} for {price}"
        if cheap is not None and cheap is not best:
            text += f"; `{cheap['label']}` saves no less for {_percent(cheap['scan_cost_cpu_share'], 2)}"
        said.append(text + ("." if best or cheap else "; nothing here is better in both."))
    return said
