"""The rows of a replay as tables."""

import numpy as np
import numpy.typing as npt
import polars as pl

from ksmbench.designs.design import Design
from ksmbench.engine.counters import REVIEW_COUNTERS, ROW_COUNTERS, SAMPLED, SPACE_COUNTERS, WORK_COUNTERS
from ksmbench.engine.drive import Record
from ksmbench.engine.turning import SHOWN_SETTINGS


def with_end(record: Record) -> npt.NDArray[np.int64]:
    """Its rows, and one for the end where none stands for it: an event after the last batch may have changed something.

    int64 [n, 1 + N_SAMPLED].
    """
    if len(record.rows) and np.array_equal(record.rows[-1], record.last):
        return record.rows
    return np.vstack([record.rows, record.last])


def samples_frame(
    design: Design, rows: npt.NDArray[np.int64], settings: npt.NDArray[np.int64] | None = None
) -> pl.DataFrame:
    """`samples` of a `Result`: `rows`, and where they are given the `settings` that were shown at each of them."""
    kept = {*SAMPLED, *(name for name in (*REVIEW_COUNTERS, *WORK_COUNTERS) if name in design.counters)}
    columns = {"time_ns": rows[:, 0]} | {name: rows[:, 1 + i] for i, name in enumerate(ROW_COUNTERS) if name in kept}
    if settings is not None:
        columns |= {name: settings[: len(rows), i] for i, name in enumerate(SHOWN_SETTINGS)}
    frame = pl.DataFrame({name: np.ascontiguousarray(column) for name, column in columns.items()})
    missing = [name for name in SAMPLED if name not in design.counters]
    return frame.with_columns(pl.lit(None, pl.Int64).alias(name) for name in missing).select(list(columns))


def spaces_frame(design: Design, rows: npt.NDArray[np.int64]) -> pl.DataFrame:
    """`spaces` of a `Result`, of int64 [n, N_SPACE_COLUMNS]."""
    names = ("time_ns", "space", *SPACE_COUNTERS)
    frame = pl.DataFrame({name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate(names)})
    missing = [name for name in SPACE_COUNTERS if name not in design.space_counters]
    return frame.with_columns(pl.col("space").cast(pl.UInt32), *(pl.lit(None, pl.Int64).alias(n) for n in missing))
