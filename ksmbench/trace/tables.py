"""One Parquet table of a trace, read as untrusted input: what the footer promises is judged before anything is read."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ksmbench.errors import TraceError
from ksmbench.trace import rules, schema

# Bytes of memory at the peak of reading and checking, per row.
_BYTES_PER_ROW = {"spaces": 600, "events": 220, "contents": 160}


def memory_limit() -> int:
    """Half of this machine's memory in bytes, what a reader may fill unless told otherwise."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def table_path(folder: Path, table: str) -> Path:
    """Where the table is in the trace `folder`."""
    return folder / f"{table}.parquet"


def one_line(error: BaseException) -> str:
    """The first line of a library's message, for use inside a sentence."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200].strip().rstrip(".")


def _check_size(path: Path, table: str, metadata: pq.FileMetaData, max_memory: int) -> None:
    # A few bytes of Parquet can hold billions of equal rows, and a footer can claim any number. Columns are not asked
    # one by one: pyarrow ends the process over a damaged one.
    n_bytes = metadata.num_rows * _BYTES_PER_ROW[table]
    if table != "contents":  # no texts there, and `data` is not read
        n_bytes += sum(max(metadata.row_group(i).total_byte_size, 0) for i in range(metadata.num_row_groups))
    rules.check_table_size(str(path), metadata.num_rows, n_bytes, max_memory)


def _read(path: Path, table: str, max_memory: int) -> pa.Table:
    columns = {column.name: column for column in schema.TABLES[table]}
    with pq.ParquetFile(path) as file:
        metadata, arrow_schema = file.metadata, file.schema_arrow
    rules.check_columns(str(path), table, arrow_schema)
    wanted = [name for name in arrow_schema.names if name in columns and name != "data"]
    _check_size(path, table, metadata, max_memory)
    # What has any length stays a dictionary, so that a text that many rows repeat is held once.
    long = [
        name
        for name in wanted
        if columns[name].type in ("string", "binary")
        and not pa.types.is_fixed_size_binary(arrow_schema.field(name).type)
    ]
    with pq.ParquetFile(path, metadata=metadata, read_dictionary=long, page_checksum_verification=True) as file:
        result = file.read(columns=wanted)
    if len(result) != metadata.num_rows:
        raise pa.ArrowInvalid(f"{len(result)} rows where its footer says {metadata.num_rows}")
    result.validate(full=True)
    return result.replace_schema_metadata(arrow_schema.metadata)


def read_table(folder: Path, table: str, trace_id: object, max_memory: int) -> pa.Table:
    """Read the known columns of one table (all but `data`) after the checks of its schema and size."""
    path = table_path(folder, table)
    if not path.is_file():
        raise TraceError(f"{path}: the table is missing; a trace has spaces, events and contents [C06]")
    try:
        result = _read(path, table, max_memory)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise TraceError(f"{path}: not readable as Parquet ({one_line(error)}); copy it again [C07]") from None
    rules.check_trace_id(str(path), result.schema.metadata, trace_id)
    return result


def has_pages(path: str | os.PathLike[str]) -> bool:
    """Whether the trace in the folder `path` holds the contents themselves."""
    file_path = table_path(Path(path), "contents")
    try:
        with pq.ParquetFile(file_path) as file:
            return "data" in file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceError(f"{file_path}: not readable as Parquet ({one_line(error)}); copy it again [C07]") from None


def read_pages(path: str | os.PathLike[str], page_size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the contents that the trace in the folder `path` holds, by id, in pieces of uint8 [k, page_size].

    Raises `TraceError` where the trace has none, or pages of another length.
    """
    file_path = table_path(Path(path), "contents")
    try:
        with pq.ParquetFile(file_path, page_checksum_verification=True) as file:
            rules.check_columns(str(file_path), "contents", file.schema_arrow)
            if "data" not in file.schema_arrow.names:
                rules.refuse(str(file_path), "the trace was captured without contents; capture again with them", "K05")
            start = 0
            for batch in file.iter_batches(1024, columns=["data"]):
                column = batch.column(0).cast(pa.binary())
                rules.check_pages(str(file_path), column, page_size, start)
                start += len(column)
                yield np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, page_size)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceError(f"{file_path}: not readable as Parquet ({one_line(error)}); copy it again [C07]") from None
