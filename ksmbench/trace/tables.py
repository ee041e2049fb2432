"""One Parquet table of a trace, read as untrusted input: what the footer promises is judged before anything is read."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ksmbench.errors import TraceError
from ksmbench.trace import rules, schema

# Bytes of memory at the peak of reading and checking, per row.
_BYTES_PER_ROW = {"spaces": 600, "events": 220, "contents": 60}


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
    # Texts stay dictionaries, so that a text that many rows repeat is held once.
    texts = [name for name in wanted if columns[name].type == "string"]
    with pq.ParquetFile(path, metadata=metadata, read_dictionary=texts, page_checksum_verification=True) as file:
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
