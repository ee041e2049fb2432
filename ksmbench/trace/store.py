"""Traces on disk: a folder of Parquet tables that is written whole or not at all, and read only after its checks."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ksmbench.errors import TraceError, UsageError
from ksmbench.trace import rules, schema
from ksmbench.trace.columns import Contents, Events, Space, Trace


def _table_path(folder: Path, table: str) -> Path:
    return folder / f"{table}.parquet"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "trace.json"
    if not folder.is_dir():
        raise TraceError(f"{folder}: no such trace; a trace is a folder with trace.json in it")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TraceError(f"{path}: the manifest is missing; a trace needs one") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise TraceError(f"{path}: not readable as JSON ({reason}); write it again") from None
    rules.check_manifest(str(path), manifest)
    return dict(manifest)


def _read_table(folder: Path, table: str, trace_id: object) -> pa.Table:
    path = _table_path(folder, table)
    if not path.is_file():
        raise TraceError(f"{path}: the table is missing; a trace has spaces, events and contents")
    known = {column.name for column in schema.TABLES[table]}
    try:
        with pq.ParquetFile(path) as file:
            arrow_schema = file.schema_arrow
            rules.check_columns(str(path), table, arrow_schema)
            wanted = [name for name in arrow_schema.names if name in known and name != "data"]
            result = file.read(columns=wanted)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0][:200]
        raise TraceError(f"{path}: not readable as Parquet ({reason}); copy it again") from None
    rules.check_trace_id(str(path), arrow_schema.metadata, trace_id)
    return result


def _column(table: pa.Table, name: str, dtype: str) -> npt.NDArray[Any]:
    # A null counts as 0 once the rules have accepted it.
    filled = pc.fill_null(table[name], pa.scalar(0, table[name].type))
    array = np.ascontiguousarray(filled.to_numpy().astype(dtype, copy=False))
    array.setflags(write=False)
    return array


def _text(table: pa.Table, name: str) -> pa.DictionaryArray:
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()).combine_chunks().dictionary_encode()


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array


def _events(path: str, table: pa.Table) -> tuple[Events, tuple[str, ...]]:
    rules.check_event_nulls(path, table)
    kinds = _text(table, "kind")
    kind = rules.kind_numbers(path, kinds)
    rules.check_event_cells(path, table, kind)
    names: tuple[str, ...] = ()
    name = np.full(len(table), -1, np.int32)
    if "name" in table.column_names:
        encoded = _text(table, "name")
        names = tuple(encoded.dictionary.to_pylist())
        name = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    node = np.zeros(len(table), np.uint8)
    if "node" in table.column_names:
        node = _column(table, "node", "uint8")
    columns = Events(
        time_ns=_column(table, "time_ns", "int64"),
        kind=_frozen(kind),
        space=_column(table, "space", "int64"),  # narrowed once it is known to be in range
        page=_column(table, "page", "uint64"),
        n_pages=_column(table, "count", "uint64"),
        value=_column(table, "value", "int64"),
        node=_frozen(node),
        name=_frozen(name),
    )
    return columns, names


def open_trace(path: str | os.PathLike[str]) -> Trace:
    """Read and validate the trace in the folder `path`.

    Raises `TraceError` with one sentence (file, row, rule, remedy) for the first rule of the format that is broken.
    Page contents (`data`), where the trace has them, are not read.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    trace_id = manifest.get("trace_id")
    tables = {table: _read_table(folder, table, trace_id) for table in schema.TABLES}
    where = {table: str(_table_path(folder, table)) for table in schema.TABLES}

    spaces_table = tables["spaces"]
    rules.check_spaces(where["spaces"], spaces_table)
    spaces = tuple(
        Space(row["pid"], row["name"] or f"space-{row['space']}", row["kind"], row.get("domain"))
        for row in spaces_table.to_pylist()
    )

    contents_table = tables["contents"]
    rules.check_contents(where["contents"], contents_table, manifest["page_size"])
    contents = Contents(
        lcp=_column(contents_table, "lcp", "uint16"),
        checksum=_column(contents_table, "checksum", "uint32"),
    )

    wide, names = _events(where["events"], tables["events"])
    rules.check_events(where["events"], wide, names, len(spaces), len(contents.lcp))
    events = wide._replace(
        space=_frozen(wide.space.astype(np.int32)),
        page=_frozen(wide.page.astype(np.int64)),
        n_pages=_frozen(wide.n_pages.astype(np.int64)),
    )
    return Trace(manifest, spaces, events, contents, names, folder)


def _arrow_tables(trace: Trace) -> dict[str, pa.Table]:
    events = trace.events
    named = pa.DictionaryArray.from_arrays(
        pa.array(events.name, mask=events.name < 0), pa.array(trace.names, pa.string())
    )
    kinds = pa.DictionaryArray.from_arrays(pa.array(events.kind.astype(np.int8)), pa.array(schema.KIND_NAMES))
    tables = {
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
        "contents": pa.table({"lcp": trace.contents.lcp, "checksum": trace.contents.checksum}),
    }
    trace_id = trace.manifest.get("trace_id")
    if trace_id is None:
        return tables
    metadata = {b"trace_id": str(trace_id).encode()}
    return {name: table.replace_schema_metadata(metadata) for name, table in tables.items()}


def write_trace(trace: Trace, path: str | os.PathLike[str], *, force: bool = False, replace: bool = False) -> None:
    """Write `trace` as the folder `path`, which appears whole or not at all.

    An existing `path` is an error unless `force` (or `replace`, for the checkpoints of one capture) is set; then it is
    exchanged for the new one.
    """
    folder = Path(path)
    if folder.exists() and not (force or replace):
        raise UsageError(f"{folder} exists already; choose another name or pass --force")
    if folder.exists() and not (folder / "trace.json").is_file():
        raise UsageError(f"{folder} exists and is not a trace; choose another name")
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        integers = ["time_ns", "page", "count", "value"]
        for name, table in _arrow_tables(trace).items():
            delta = [column for column in integers if name == "events"]
            pq.write_table(
                table,
                _table_path(scratch, name),
                compression="zstd",
                compression_level=9,
                use_dictionary=[c for c in table.column_names if c in ("kind", "name")],
                column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
            )
        text = json.dumps(trace.manifest, indent=2, ensure_ascii=False)
        (scratch / "trace.json").write_text(text + "\n", encoding="utf-8")
        _publish(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _publish(scratch: Path, folder: Path) -> None:
    if not folder.exists():
        scratch.rename(folder)
        return
    # rename(2) does not replace a folder that has files: the old one steps aside first.
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    try:
        scratch.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
