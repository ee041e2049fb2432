"""Traces on disk: a folder of Parquet tables that is written whole or not at all, and read only after its checks."""

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ksmbench.errors import KsmbenchError, TraceError, UsageError
from ksmbench.trace import rules, schema
from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.publish import publish, scratch_folder
from ksmbench.trace.remote import is_url, local_path, open_url
from ksmbench.trace.tables import memory_limit, one_line, read_table, table_path
from ksmbench.trace.writing import write_files

_MAX_MANIFEST_BYTES = 16 << 20
_TRIES = 5
_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # nothing that another name would mend


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _parse_manifest(path: Path) -> Any:
    if not path.is_file():
        raise TraceError(f"{path}: the manifest is missing; a trace needs one [M06]")
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise ValueError(f"more than {_MAX_MANIFEST_BYTES >> 20} MiB")
        manifest = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
        json.dumps(manifest, ensure_ascii=False).encode()  # half of a surrogate pair cannot be written again
    except (OSError, ValueError, RecursionError) as error:
        raise TraceError(f"{path}: not readable as JSON ({one_line(error)}); write it again [M07]") from None
    return manifest


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "trace.json"
    if not folder.is_dir():
        raise TraceError(f"{folder}: no such trace; a trace is a folder with trace.json in it")
    manifest = _parse_manifest(path)
    rules.check_manifest(str(path), manifest)
    return dict(manifest)


def _column(table: pa.Table, name: str, dtype: str) -> npt.NDArray[Any]:
    # A null counts as 0 once the rules have accepted it.
    filled = pc.fill_null(table[name], pa.scalar(0, table[name].type))
    array = np.ascontiguousarray(filled.to_numpy().astype(dtype, copy=False))
    array.setflags(write=False)
    return array


def _text(table: pa.Table, name: str) -> pa.DictionaryArray:
    # Distinct texts once each, nulls as null indices.
    column = table[name]
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    wanted = pa.dictionary(pa.int32(), pa.string())
    return column.cast(wanted).unify_dictionaries().combine_chunks()


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


def _without_unused(wide: Events) -> Events:
    # Cells that a verb does not use are null or 0 in the format; whatever they hold, nothing further on sees it.
    def used(column: npt.NDArray[Any], kinds: frozenset[schema.Kind]) -> npt.NDArray[Any]:
        return np.where(np.isin(wide.kind, sorted(kinds)), column, column.dtype.type(0))

    every = frozenset(schema.Kind)
    return wide._replace(
        space=_frozen(used(wide.space, every - {schema.Kind.TUNE}).astype(np.int32)),
        page=_frozen(used(wide.page, schema.RANGE_KINDS).astype(np.int64)),
        n_pages=_frozen(used(wide.n_pages, schema.RANGE_KINDS).astype(np.int64)),
        value=_frozen(used(wide.value, schema.VALUE_KINDS)),
    )


def _spaces(path: str, table: pa.Table) -> tuple[Space, ...]:
    rules.check_spaces(path, table)
    return tuple(
        Space(row["pid"], row["name"] or f"space-{row['space']}", row["kind"], row.get("domain"))
        for row in table.to_pylist()
    )


def _fingerprints(table: pa.Table) -> npt.NDArray[np.uint8] | None:
    if "fingerprint" not in table.column_names:
        return None
    width = schema.FINGERPRINT_BYTES
    values = table["fingerprint"].cast(pa.binary()).to_pylist()
    joined = b"".join(bytes(width) if value is None else value for value in values)
    return _frozen(np.frombuffer(joined, np.uint8).reshape(len(table), width))


def _open(folder: Path, max_memory: int) -> Trace:
    manifest = _read_manifest(folder)
    tables = {table: read_table(folder, table, manifest.get("trace_id"), max_memory) for table in schema.TABLES}
    where = {table: str(table_path(folder, table)) for table in schema.TABLES}
    spaces = _spaces(where["spaces"], tables["spaces"])
    rules.check_contents(where["contents"], tables["contents"], manifest["page_size"])
    contents = Contents(
        lcp=_column(tables["contents"], "lcp", "uint16"),
        checksum=_column(tables["contents"], "checksum", "uint32"),
    )
    wide, names = _events(where["events"], tables["events"])
    rules.check_events(where["events"], wide, names, len(spaces), len(contents.lcp))
    fingerprint = _fingerprints(tables["contents"])
    return Trace(manifest, spaces, _without_unused(wide), contents, names, folder, fingerprint)


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError:
        return -1, -1
    return status.st_ino, status.st_ctime_ns  # numbers of inodes are used again


def open_trace(path: str | os.PathLike[str], *, max_memory: int | None = None) -> Trace:
    """Read and validate the trace in the folder `path`.

    Raises `TraceError` with one sentence (file, row, rule, remedy) for the first rule of the format that is broken
    (`ksmbench.trace.rules` lists them), also where reading would need more than `max_memory` bytes (default: half of
    this machine's memory). Page contents (`data`), where the trace has them, are not read. `path` may be a URL that
    fsspec opens, as s3://bucket/trace.
    """
    if isinstance(path, str) and is_url(path):
        local = local_path(path)
        if local is None:
            return open_url(path, max_memory)
        path = local
    folder = Path(path)
    limit = memory_limit() if max_memory is None else max_memory
    for _ in range(_TRIES - 1):
        # A running capture may exchange the trace for a longer one between two of its tables.
        before = _identity(folder)
        try:
            trace = _open(folder, limit)
        except TraceError:
            if _identity(folder) == before:
                raise
            continue
        if _identity(folder) == before:
            return trace
    return _open(folder, limit)


def write_trace(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    replace: bool = False,
    level: int = 9,
    pages: Iterable[npt.NDArray[np.uint8]] | None = None,
) -> None:
    """Write `trace` as the folder `path`, which appears whole or not at all.

    An existing `path` is an error unless `force` (or `replace`, for the checkpoints of one capture) is set; then it is
    exchanged for the new one, if it is a trace. `level` is zstd's: 1 is quick, 9 is small. `pages` are the contents
    themselves, in the order of their ids, in pieces of uint8 [k, page_size]; without them the trace does not say what
    any page contains. Raises `UsageError`, and `KsmbenchError` where the disk is full.
    """
    folder = Path(os.path.realpath(path))  # a link stays one
    if folder.exists() and not (force or replace):
        raise UsageError(f"{path} exists already; choose another name or pass --force")
    if folder.exists() and not (folder / "trace.json").is_file():
        raise UsageError(f"{path} exists and is not a trace; choose another name")
    try:
        with scratch_folder(folder) as scratch:
            write_files(trace, scratch, level, pages)
            publish(scratch, folder)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else one_line(error)
        kind = KsmbenchError if error.errno in _FAILURES else UsageError
        raise kind(f"{path}: the trace cannot be written there ({why})") from None
