"""The files of a trace, as they are written."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ksmbench.trace import schema
from ksmbench.trace.columns import Trace
from ksmbench.trace.tables import table_path


def _spaces_and_events(trace: Trace) -> dict[str, pa.Table]:
    events = trace.events
    named = pa.DictionaryArray.from_arrays(
        pa.array(events.name, mask=events.name < 0), pa.array(trace.names, pa.string())
    )
    kinds = pa.DictionaryArray.from_arrays(pa.array(events.kind.astype(np.int8)), pa.array(schema.KIND_NAMES))
    return {
        "spaces": pa.table(
            {
                "space": pa.array(range(len(trace.spaces)), pa.uint32()),
                "pid": pa.array([space.pid for space in trace.spaces], pa.int64()),
                "name": pa.array([space.name for space in trace.spaces], pa.string()),
                "kind": pa.array([space.kind for space in trace.spaces], pa.string()),
                "domain": pa.array([space.domain for space in trace.spaces], pa.string()),
            }
        ),
        "events": pa.table(
            {
                "time_ns": events.time_ns,
                "kind": kinds,
                "space": events.space.astype(np.uint32),
                "page": events.page.astype(np.uint64),
                "count": events.n_pages.astype(np.uint64),
                "value": events.value,
                "name": named,
                "node": events.node,
            }
        ),
    }


def _bytes_column(rows: npt.NDArray[np.uint8]) -> pa.Array:
    # uint8 [n, width] as n values of that many bytes.
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(rows.shape[1]), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))]
    )


def _contents(trace: Trace, pages: Iterable[npt.NDArray[np.uint8]] | None) -> Iterator[pa.Table]:
    # In pieces, since the contents of large machines do not fit in memory.
    columns: dict[str, Any] = {"lcp": pa.array(trace.contents.lcp), "checksum": pa.array(trace.contents.checksum)}
    if trace.fingerprint is not None:
        columns["fingerprint"] = _bytes_column(trace.fingerprint)
    table = pa.table(columns)
    if pages is None:
        yield table
        return
    start = 0
    for piece in pages:
        rows = table.slice(start, len(piece))
        start += len(piece)
        if len(rows) != len(piece) or piece.shape[1] != trace.page_size:
            raise ValueError("pages do not fit the contents of the trace")
        yield rows.append_column("data", _bytes_column(piece))
    if start != len(table):
        raise ValueError(f"pages hold {start} of the {len(table)} contents")


def _write_table(path: Path, pieces: Iterator[pa.Table], name: str, trace_id: object, level: int) -> None:
    first = next(pieces)
    metadata = None if trace_id is None else {b"trace_id": str(trace_id).encode()}
    # Neighbouring rows differ little in these.
    delta = ["time_ns", "page", "count", "value"] if name == "events" else []
    with pq.ParquetWriter(
        path,
        first.schema.with_metadata(metadata),
        compression="zstd",
        compression_level=level,
        use_dictionary=[c for c in first.column_names if c in ("kind", "name")],
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
    ) as writer:
        for piece in chain((first,), pieces):
            writer.write_table(piece.replace_schema_metadata(metadata))


def write_files(trace: Trace, folder: Path, level: int, pages: Iterable[npt.NDArray[np.uint8]] | None = None) -> None:
    """Write the manifest and the tables into `folder`; see `ksmbench.trace.store.write_trace`."""
    trace_id = trace.manifest.get("trace_id")
    for name, table in _spaces_and_events(trace).items():
        _write_table(table_path(folder, name), iter([table]), name, trace_id, level)
    _write_table(table_path(folder, "contents"), _contents(trace, pages), "contents", trace_id, level)
    text = json.dumps(trace.manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "trace.json").write_text(text + "\n", encoding="utf-8")
