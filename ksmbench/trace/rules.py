"""What a trace must obey before anything runs: numba does not check bounds, so everything is checked here.

Each rule has an identifier (in brackets at the end of the message) and a test. Rows count from 0.

=== =================================================================================================
M01 the manifest is a JSON object
M02 its "format" is that of a trace
M03 its "version" is one that this reader knows
M04 its "page_size" is a power of two from 512 to 65536
M05 its optional fields have their types
M06 trace.json exists
M07 it is JSON in UTF-8 of at most 16 MiB, with numbers that JSON has
C01 every required column is there
C02 no column twice
C03 every column has its type
C04 a table that carries a trace_id carries the manifest's
C05 no null in a column that needs a value in every row
C06 every table exists
C07 every table is whole, readable Parquet
C08 reading fits the reader's memory
S01 row i of spaces is space i
S02 a space is a vm or a process
K01 contents has a row 0
K02 the lcp of row 0 is 0
K03 every lcp is below the page size
K04 fingerprints are 16 bytes long
K05 contents, where they are asked for, are there and of the page size (checked when they are read)
E01 every verb is one of format version 1
E02 no null where the verb needs a value
E03 time begins at 0 or later and never decreases
E04 every space that an event names exists
E05 a range has at least one page and fits 2^52 pages; huge acts on whole aligned blocks
E06 values are in range: content, kind of mapping, prctl, NUMA node
E07 a tune names its setting
E08 a space acts between its birth and its exit, and is born once
E09 the pages that can be present fit the reader's memory
=== =================================================================================================
"""

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ksmbench.errors import TraceError
from ksmbench.trace import schema
from ksmbench.trace.columns import Events
from ksmbench.trace.schema import Kind


def refuse(file: str, what: str, rule: str, row: int | None = None) -> NoReturn:
    """Raise the sentence for a broken rule."""
    place = file if row is None else f"{file}: row {row}"
    raise TraceError(f"{place}: {what} [{rule}]")


_OPTIONAL_FIELDS = (("host", dict), ("capture", dict), ("created", str), ("label", str), ("trace_id", str))


def check_manifest(file: str, manifest: Any) -> None:
    """M01 to M05."""
    if not isinstance(manifest, dict):
        refuse(file, "the manifest is not a JSON object; write one", "M01")
    if manifest.get("format") != schema.FORMAT:
        refuse(file, f'"format" must be "{schema.FORMAT}"; this is something else', "M02")
    version = manifest.get("version")
    if type(version) is not int or version != schema.VERSION:
        refuse(
            file,
            f"version {version!r:.40} of the format is unknown; this reader knows {schema.VERSION}",
            "M03",
        )
    size = manifest.get("page_size")
    if type(size) is not int or not 512 <= size <= 65536 or size & (size - 1):
        refuse(file, '"page_size" must be a power of two from 512 to 65536', "M04")
    for name, kind in _OPTIONAL_FIELDS:
        if manifest.get(name) is not None and not isinstance(manifest[name], kind):
            refuse(file, f'"{name}" must be of type {kind.__name__}', "M05")


def _type_fits(column: schema.Column, actual: pa.DataType) -> bool:
    if column.type == "string":
        if pa.types.is_dictionary(actual):
            actual = actual.value_type
        return bool(pa.types.is_string(actual) or pa.types.is_large_string(actual))
    if column.type == "binary":
        return bool(
            pa.types.is_binary(actual) or pa.types.is_large_binary(actual) or pa.types.is_fixed_size_binary(actual)
        )
    return str(actual) == column.type


def check_columns(file: str, table: str, actual: pa.Schema) -> None:
    """C01 required columns, C02 no column twice, C03 types."""
    for column in schema.TABLES[table]:
        found = actual.get_all_field_indices(column.name)
        if not found and column.required:
            refuse(file, f'column "{column.name}" ({column.type}) is missing', "C01")
        if len(found) > 1:
            refuse(file, f'column "{column.name}" occurs {len(found)} times', "C02")
        if found and not _type_fits(column, actual.field(found[0]).type):
            got = actual.field(found[0]).type
            refuse(file, f'column "{column.name}" is {got}; it must be {column.type}', "C03")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.1f} MiB"


def check_table_size(file: str, n_rows: int, n_bytes: int, max_memory: int) -> None:
    """C08: `n_bytes`, what reading `n_rows` rows would take, fit `max_memory`."""
    if n_rows < 0:
        refuse(file, f"its footer claims {n_rows} rows; copy it again", "C07")
    if n_bytes > max_memory:
        what = f"{n_rows:,} rows need {_size(n_bytes)} of memory, of which {_size(max_memory)} may be used"
        refuse(file, f"{what}; read it on a larger machine or allow more", "C08")


def check_trace_id(file: str, metadata: dict[bytes, bytes] | None, trace_id: object) -> None:
    """C04: a table that names a trace names this one."""
    if trace_id is None or not metadata or b"trace_id" not in metadata:
        return
    if metadata[b"trace_id"] != str(trace_id).encode():
        refuse(file, "this table belongs to another trace (trace_id differs from trace.json)", "C04")


def _first(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.argmax(mask)) if mask.size and mask.any() else -1


def _first_null(column: pa.ChunkedArray) -> int:
    if column.null_count == 0:
        return -1
    return int(pc.index(column.is_null(), pa.scalar(True)).as_py())


def _check_nulls(file: str, table: pa.Table, name: str) -> None:
    for column in schema.TABLES[name]:
        if column.nullable or column.name not in table.column_names:
            continue
        row = _first_null(table[column.name])
        if row >= 0:
            refuse(file, f'"{column.name}" is null; it needs a value', "C05", row)


def check_spaces(file: str, table: pa.Table) -> None:
    """C05, S01, S02."""
    _check_nulls(file, table, "spaces")
    space = table["space"].to_numpy().astype(np.int64)
    row = _first(space != np.arange(len(space)))
    if row >= 0:
        refuse(file, f"space is {space[row]}; row i is space i, dense from 0", "S01", row)
    for row, kind in enumerate(table["kind"].to_pylist()):
        if kind not in schema.SPACE_KINDS:
            refuse(file, f'kind {kind!r:.40} is unknown; use "vm" or "process"', "S02", row)


def check_contents(file: str, table: pa.Table, page_size: int) -> None:
    """C05, K01 to K04."""
    _check_nulls(file, table, "contents")
    if len(table) == 0:
        refuse(file, "there is no row; row 0 is the all-zero page and always stands", "K01")
    lcp = table["lcp"].to_numpy()
    if lcp[0] != 0:
        refuse(file, f"lcp is {lcp[0]}; row 0 has no row before it, so it must be 0", "K02", 0)
    row = _first(lcp >= page_size)
    if row >= 0:
        refuse(file, f"lcp is {lcp[row]}; distinct pages share less than {page_size}", "K03", row)
    if "fingerprint" in table.column_names:
        row = _first(_lengths(table["fingerprint"], schema.FINGERPRINT_BYTES) != schema.FINGERPRINT_BYTES)
        if row >= 0:
            refuse(file, f"the fingerprint is not {schema.FINGERPRINT_BYTES} bytes long", "K04", row)


def _lengths(column: pa.ChunkedArray, null: int) -> npt.NDArray[np.int64]:
    # Of binary values; a dictionary is not spelled out, since it may be far longer then.
    if pa.types.is_dictionary(column.type):
        whole = column.unify_dictionaries().combine_chunks()
        lengths = pc.binary_length(whole.dictionary).take(whole.indices)
    else:
        lengths = pc.binary_length(column)
    if isinstance(lengths, pa.ChunkedArray):
        lengths = lengths.combine_chunks()
    filled: npt.NDArray[np.int64] = pc.fill_null(lengths.cast(pa.int64()), null).to_numpy(zero_copy_only=False)
    return filled


def check_pages(file: str, column: pa.Array, page_size: int, start: int) -> None:
    """K05 for the rows from `start` on."""
    row = _first(pc.fill_null(pc.binary_length(column), -1).to_numpy(zero_copy_only=False) != page_size)
    if row >= 0:
        refuse(file, f"data is not {page_size} bytes long, as every page is", "K05", start + row)


def check_event_nulls(file: str, table: pa.Table) -> None:
    """C05: time_ns and kind of an event are never null."""
    _check_nulls(file, table, "events")


def kind_numbers(file: str, kinds: pa.DictionaryArray) -> npt.NDArray[np.uint8]:
    """E01: every verb is known; returns each row's `Kind`."""
    words = kinds.dictionary.to_pylist()
    codes = kinds.indices.to_numpy()
    known = {name: number for number, name in enumerate(schema.KIND_NAMES)}
    numbers = np.array([known.get(word, 255) for word in words] or [0], np.uint8)
    kind: npt.NDArray[np.uint8] = numbers[codes]
    row = _first(kind == 255)
    if row >= 0:
        word = words[int(codes[row])]
        refuse(file, f"the verb {word!r:.60} is unknown to format version 1", "E01", row)
    return kind


def _is_one_of(kind: npt.NDArray[np.uint8], kinds: frozenset[Kind]) -> npt.NDArray[np.bool_]:
    return np.isin(kind, np.array(sorted(kinds), np.uint8))


def check_event_cells(file: str, table: pa.Table, kind: npt.NDArray[np.uint8]) -> None:
    """E02: no null where the verb needs a value."""
    spaceless = frozenset({Kind.TUNE, Kind.MARK})
    needs = {
        "space": ~_is_one_of(kind, spaceless),
        "page": _is_one_of(kind, schema.RANGE_KINDS),
        "count": _is_one_of(kind, schema.RANGE_KINDS),
        "value": _is_one_of(kind, schema.VALUE_KINDS),
    }
    for name, needed in needs.items():
        column = table[name]
        if column.null_count == 0:
            continue
        nulls = column.is_null().combine_chunks().to_numpy(zero_copy_only=False)
        row = _first(nulls & needed)
        if row >= 0:
            verb = schema.KIND_NAMES[kind[row]]
            refuse(file, f'"{name}" is null; {verb} needs a value there', "E02", row)


def check_events(file: str, events: Events, names: tuple[str, ...], n_spaces: int, n_contents: int) -> None:
    """E03 to E08."""
    _check_time(file, events.time_ns)
    _check_ids(file, events, n_spaces, n_contents)
    _check_ranges(file, events)
    _check_values(file, events)
    row = _first((events.kind == Kind.TUNE) & (events.name < 0))
    if row >= 0:
        refuse(file, "a tune needs the setting's file name in name", "E07", row)
    _check_lives(file, events, n_spaces)


def _check_time(file: str, time_ns: npt.NDArray[np.int64]) -> None:
    if len(time_ns) and time_ns[0] < 0:
        refuse(file, f"time_ns is {time_ns[0]}; a trace begins at 0 or later", "E03", 0)
    row = _first(time_ns[1:] < time_ns[:-1])
    if row >= 0:
        before, after = time_ns[row], time_ns[row + 1]
        what = f"time_ns is {after} after {before}; sort the events by time"
        refuse(file, what, "E03", row + 1)


def _check_ids(file: str, events: Events, n_spaces: int, n_contents: int) -> None:
    kind, value = events.kind, events.value
    # A mark may name a space; 0 also stands for none.
    with_space = (kind != Kind.TUNE) & ((kind != Kind.MARK) | (events.space > 0))
    row = _first(with_space & (events.space >= n_spaces))
    if row >= 0:
        what = f"space {events.space[row]} does not exist; spaces has {n_spaces} rows"
        refuse(file, what, "E04", row)
    row = _first(_is_one_of(kind, schema.SPACE_VALUE_KINDS) & ((value < 0) | (value >= n_spaces)))
    if row >= 0:
        what = f"value names space {value[row]}, which does not exist; spaces has {n_spaces} rows"
        refuse(file, what, "E04", row)
    row = _first((kind == Kind.WRITE) & ((value < 0) | (value >= n_contents)))
    if row >= 0:
        what = f"content {value[row]} does not exist; contents has {n_contents} rows"
        refuse(file, what, "E06", row)


def _check_ranges(file: str, events: Events) -> None:
    in_range = _is_one_of(events.kind, schema.RANGE_KINDS)
    limit = np.uint64(schema.PAGE_LIMIT)
    row = _first(in_range & (events.n_pages < 1))
    if row >= 0:
        verb = schema.KIND_NAMES[events.kind[row]]
        refuse(file, f"count is 0; {verb} acts on at least one page", "E05", row)
    beyond = (events.page >= limit) | (events.n_pages > limit)
    end = np.where(beyond, np.uint64(0), events.page + events.n_pages)
    row = _first(in_range & (beyond | (end > limit)))
    if row >= 0:
        what = f"pages {events.page[row]} + {events.n_pages[row]} do not fit 2^52 pages"
        refuse(file, what, "E05", row)
    target = np.where(events.kind == Kind.MOVE, events.value, 0)
    too_far = (target < 0) | (target > schema.PAGE_LIMIT)
    end = np.where(too_far | beyond, 0, target) + np.where(beyond, 0, events.n_pages).astype(np.int64)
    row = _first((events.kind == Kind.MOVE) & (too_far | (end > schema.PAGE_LIMIT)))
    if row >= 0:
        refuse(file, f"the move's target {events.value[row]} does not fit 2^52 pages", "E05", row)
    block = np.uint64(schema.HUGE_PAGES)
    unaligned = (events.page % block != 0) | (events.n_pages % block != 0)
    row = _first((events.kind == Kind.HUGE) & unaligned)
    if row >= 0:
        refuse(file, f"huge acts on whole aligned blocks of {block} pages", "E05", row)


def _check_values(file: str, events: Events) -> None:
    kind, value = events.kind, events.value
    row = _first((kind == Kind.MAP) & ((value < 0) | (value > 2)))
    if row >= 0:
        refuse(file, f"map has value {value[row]}; it takes 0, 1 or 2", "E06", row)
    row = _first((kind == Kind.PRCTL) & ((value < 0) | (value > 1)))
    if row >= 0:
        refuse(file, f"prctl has value {value[row]}; it takes 0 or 1", "E06", row)
    row = _first((kind == Kind.MIGRATE) & ((value < 0) | (value > 255)))
    if row >= 0:
        refuse(file, f"migrate has value {value[row]}; a NUMA node is 0 to 255", "E06", row)


def _check_lives(file: str, events: Events, n_spaces: int) -> None:
    """E08: a forked space is new and not its own parent; nothing precedes a birth or follows an exit."""
    rows = np.arange(len(events.kind))
    forks = events.kind == Kind.FORK
    born = np.full(n_spaces, -1, np.int64)
    row = _first(forks & (events.value == events.space))
    if row >= 0:
        refuse(file, f"space {events.space[row]} forks itself; the child is a space of its own", "E08", row)
    children = events.value[forks]
    unique, first = np.unique(children, return_index=True)
    if len(unique) < len(children):
        again = np.ones(len(children), bool)
        again[first] = False
        row = int(rows[forks][again][0])
        refuse(file, f"space {events.value[row]} is forked a second time", "E08", row)
    born[children] = rows[forks]
    died = np.full(n_spaces, len(rows), np.int64)
    exits = events.kind == Kind.EXIT
    np.minimum.at(died, events.space[exits], rows[exits])
    acting = ~_is_one_of(events.kind, frozenset({Kind.TUNE, Kind.MARK}))
    who = np.where(acting, events.space, 0)
    row = _first(acting & (rows <= born[who])) if n_spaces else -1
    if row >= 0:
        refuse(file, f"space {who[row]} acts before it is forked", "E08", row)
    row = _first(acting & (rows > died[who])) if n_spaces else -1
    if row >= 0:
        refuse(file, f"space {who[row]} acts after its exit", "E08", row)
    other = events.kind == Kind.SHARE
    with_whom = np.where(other, events.value, 0)
    row = _first(other & ((rows <= born[with_whom]) | (rows > died[with_whom]))) if n_spaces else -1
    if row >= 0:
        refuse(file, f"share names space {with_whom[row]}, which is not alive then", "E08", row)
