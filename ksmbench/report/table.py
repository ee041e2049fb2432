"""The table of a comparison: designs as rows, the metrics that decide as columns, the best of each marked."""

import math
from dataclasses import dataclass
from typing import Any

from ksmbench.specs import BOUNDS

Number = float | int | None


@dataclass(frozen=True)
class Column:
    """A column of the table: a key of the summary, its heading with the unit, and what is good."""

    key: str
    heading: str
    short: str  # on a terminal
    scale: float  # shown = value * scale
    digits: int
    best: int = 0  # 1: the highest is best, -1: the lowest, 0: neither
    optional: bool = False  # shown only where a row has a number


COLUMNS = (
    Column("saved_bytes", "saved at the end (MiB)", "saved MiB", 1 / 2**20, 1, 1),
    Column("oracle_share", "of the oracle (%)", "% of oracle", 100, 1, 1),
    Column("saved_bytes_mean", "saved on average (MiB)", "mean MiB", 1 / 2**20, 1, 1),
    Column("saved_bytes_net", "net of metadata (MiB)", "net MiB", 1 / 2**20, 1, 1),
    Column("time_to_90_percent_s", "90 % reached after (s)", "90 % after s", 1, 1, -1),
    Column("scan_cost_cpu_share", "ksmd (% of one CPU)", "% CPU", 100, 2, -1),
    Column("cpu_s_per_gib_saved", "CPU s per GiB saved", "CPU s/GiB", 1, 2, -1),
    Column("merge_ratio", "sharing / shared", "ratio", 1, 2),
    Column("cow_breaks", "copy-on-write breaks", "COW breaks", 1, 0, -1),
    Column("lost_ptes", "entries lost", "lost", 1, 0, -1, optional=True),
    Column("quota_overrun_most", "merged frames beyond the count, at most", "uncounted", 1, 0, -1, optional=True),
    Column("dead_byte_seconds", "held for the dead (MiB s)", "dead MiB s", 1 / 2**20, 1, -1, optional=True),
    Column("longest_exit_delay_s", "exit to free, at most (s)", "exit s", 1, 2, -1, optional=True),
)


@dataclass(frozen=True)
class Cell:
    """One number as it is shown."""

    text: str
    best: bool = False
    part: float | None = None  # of a bar, percent


def show(value: Number, scale: float = 1.0, digits: int = 1) -> str:
    """`value * scale` with `digits` decimals and thousands separated; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    shown = round(value * scale, digits)
    return f"{shown + 0.0:,.{digits}f}"  # + 0.0: no minus before a zero


def _best(rows: list[dict[str, Any]], column: Column) -> float | None:
    # Among what saves anything: doing nothing is cheapest, and the oracle is no design to choose.
    values = [
        float(row[column.key])
        for row in rows
        if row["design"] not in BOUNDS and row.get(column.key) is not None and (row.get("saved_bytes") or 0) > 0
    ]
    if column.best == 0 or len(set(values)) < 2:
        return None
    return max(values) if column.best > 0 else min(values)


def shown_columns(rows: list[dict[str, Any]]) -> list[Column]:
    """The COLUMNS of these rows of a summary."""
    return [column for column in COLUMNS if not column.optional or any(row.get(column.key) is not None for row in rows)]


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One trace's rows as `label`, `bound` (is it `none` or `oracle`) and `cells` under their `shown_columns`."""
    columns = shown_columns(rows)
    best = {column.key: _best(rows, column) for column in columns}

    def cell(row: dict[str, Any], column: Column) -> Cell:
        value = row.get(column.key)
        is_best = value is not None and value == best[column.key] and row["design"] not in BOUNDS
        part = None
        if column.key == "oracle_share" and value is not None:
            part = round(100 * min(max(value, 0.0), 1.0), 1)
        return Cell(show(value, column.scale, column.digits), is_best, part)

    return [
        {
            "label": row["label"],
            "bound": row["design"] in BOUNDS,
            "cells": [cell(row, column) for column in columns],
        }
        for row in rows
    ]
