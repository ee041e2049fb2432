"""What the plots of a report show, as one tidy frame: savings, work and breaks over time, few points per line."""

import numpy as np
import polars as pl

from ksmbench.result import Comparison
from ksmbench.specs import BOUNDS

MAX_POINTS = 400  # per line: more than a screen shows, few enough for a small page
MIB = 1 << 20
LABEL = pl.concat_str("design", "settings", separator=",").str.strip_chars_end(",").alias("label")


def _thin(frame: pl.DataFrame) -> pl.DataFrame:
    # Evenly spaced rows with both ends.
    if frame.height <= MAX_POINTS:
        return frame
    return frame[np.unique(np.linspace(0, frame.height - 1, MAX_POINTS).round().astype(np.int64))]


def _line(samples: pl.DataFrame, floor: pl.DataFrame, oracle: pl.DataFrame, page_size: int) -> pl.DataFrame:
    # One design on one trace: `floor` are the samples of `none`, `oracle` those of that bound.
    samples = samples.sort("time_ns", maintain_order=True).unique("time_ns", keep="last", maintain_order=True)
    thin = _thin(samples).set_sorted("time_ns")
    unmerged = floor.select("time_ns", pl.col("frames").alias("unmerged")).sort("time_ns").set_sorted("time_ns")
    seconds = pl.col("time_ns").diff() / 1e9
    least = oracle.select("time_ns", pl.col("frames").alias("least")).sort("time_ns").set_sorted("time_ns")
    joined = thin.join_asof(unmerged, on="time_ns", strategy="backward")
    return (
        joined.set_sorted("time_ns")
        .join_asof(least, on="time_ns", strategy="backward")
        .select(
            "trace",
            LABEL,
            (pl.col("time_ns") / 1e9).alias("seconds"),
            ((pl.col("unmerged") - pl.col("frames")) * page_size / MIB).alias("saved_mib"),
            (
                (pl.col("unmerged") - pl.col("frames") - pl.col("pages_sharing") - pl.col("ksm_zero_pages"))
                * page_size
                / MIB
                + pl.col("general_profit") / MIB
            ).alias("net_mib"),
            ((pl.col("frames") - pl.col("least")) * page_size / MIB).alias("left_mib"),
            (pl.col("cpu_ns").diff() / 1e7 / seconds).alias("cpu_percent"),
            (pl.col("pages_scanned").diff() / seconds).alias("scanned_per_s"),
            pl.col("cow_breaks").cast(pl.Float64),
        )
    )


def curves(comparison: Comparison) -> pl.DataFrame:
    """One row per trace, line and point: `trace`, `label` (design and settings), `seconds` of trace time,
    `saved_mib` (against `none` at that time), `net_mib` (after KSM's own memory, from general_profit), `left_mib` (what
    the oracle saves beyond it), `cpu_percent` of one CPU and `scanned_per_s` since the point before,
    `cow_breaks` so far; null where a design has no such counter. The bounds are lines too, asked for or not.
    """
    keys = ("trace", "design", "settings")
    parts = comparison.samples.filter(~pl.col("design").is_in(BOUNDS)).partition_by(*keys, maintain_order=True)
    parts += comparison.bounds.partition_by(*keys, maintain_order=True)
    lines = []
    for part in parts:
        trace = part["trace"][0]
        floor = comparison.bounds.filter(trace=trace, design="none")
        oracle = comparison.bounds.filter(trace=trace, design="oracle")
        lines.append(_line(part, floor, oracle, comparison.page_size[trace]))
    return pl.concat(lines)
