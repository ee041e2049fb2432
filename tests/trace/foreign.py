"""A small trace as a program that has only pyarrow writes it, and how it is broken in tests."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = {"format": "ksmbench-trace", "version": 1, "page_size": 4096}
Tables = dict[str, dict[str, pa.Array]]

# time, kind, space, page, count, value
ROWS = [
    (0, "map", 0, 1024, 1024, 0),
    (0, "madvise", 0, 1024, 1024, 12),
    (0, "write", 0, 1024, 2, 1),
    (5, "fork", 0, None, None, 1),
    (6, "move", 1, 1024, 1, 4096),
    (7, "huge", 0, 1024, 512, None),
    (7, "share", 1, 1025, 1, 0),
    (8, "exit", 1, None, None, None),
    (9, "tune", None, None, None, 0),
    (9, "prctl", 0, None, None, 1),
    (9, "migrate", 0, 1024, 2, 1),
    (9, "mark", None, None, None, None),
]
NAMES = [None] * 8 + ["run", None, None, "the end"]


def foreign_tables() -> Tables:
    """The columns of the three tables."""
    time, kind, space, page, count, value = zip(*ROWS, strict=True)
    return {
        "spaces": {
            "space": pa.array([0, 1], pa.uint32()),
            "pid": pa.array([10, 11], pa.int64()),
            "name": pa.array(["a", "b"]),
            "kind": pa.array(["process", "process"]),
        },
        "events": {
            "time_ns": pa.array(time, pa.int64()),
            "kind": pa.array(kind).dictionary_encode(),
            "space": pa.array(space, pa.uint32()),
            "page": pa.array(page, pa.uint64()),
            "count": pa.array(count, pa.uint64()),
            "value": pa.array(value, pa.int64()),
            "name": pa.array(NAMES, pa.large_string()),
        },
        "contents": {
            "lcp": pa.array([0, 7, 100], pa.uint16()),
            "checksum": pa.array([5, 6, 7], pa.uint32()),
        },
    }


def write_foreign(folder: Path, tables: Tables, manifest: object = MANIFEST, **options: Any) -> None:
    """Write the tables with pyarrow's own defaults, or with these `options` of `write_table`."""
    folder.mkdir()
    (folder / "trace.json").write_text(json.dumps(manifest))
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", **options)


def set_cell(tables: Tables, table: str, column: str, row: int, value: object) -> None:
    """Put another value into one cell."""
    array = tables[table][column]
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    cells = array.to_pylist()
    cells[row] = value
    tables[table][column] = pa.array(cells, kind)
