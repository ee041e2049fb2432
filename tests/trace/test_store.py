"""Traces written by other programs are read as they are meant, and traces are written whole or not at all."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ksmbench import TraceError, UsageError, open_trace, write_trace
from ksmbench.trace import publish
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.tables import read_pages
from tests.trace.foreign import MANIFEST, foreign_tables, write_foreign


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    write_foreign(tmp_path / "t", foreign_tables())
    return tmp_path / "t"


def assert_equal(one: Trace, other: Trace) -> None:
    assert one.spaces == other.spaces
    texts = [[trace.names[i] if i >= 0 else None for i in trace.events.name] for trace in (one, other)]
    assert texts[0] == texts[1]
    for before, after in zip(one.events._replace(name=None), other.events._replace(name=None), strict=True):
        np.testing.assert_array_equal(before, after, strict=True)
    for before, after in zip(one.contents, other.contents, strict=True):
        np.testing.assert_array_equal(before, after, strict=True)


def test_foreign_trace_opens_and_survives_a_round_trip(foreign: Path, tmp_path: Path) -> None:
    trace = open_trace(foreign)
    assert [space.name for space in trace.spaces] == ["a", "b"]
    assert sorted(trace.names) == ["run", "the end"]
    assert trace.events.value[2] == 1
    assert trace.events.page[2] == 1024
    write_trace(trace, tmp_path / "copy")
    copy = open_trace(tmp_path / "copy")
    assert_equal(trace, copy)
    for array in (*copy.events, *copy.contents):
        assert not array.flags.writeable
        assert array.flags.c_contiguous


STRINGS = {
    "string": pa.string(),
    "large": pa.large_string(),
    "dictionary": pa.dictionary(pa.int8(), pa.string()),
    "dictionary of large": pa.dictionary(pa.int64(), pa.large_string()),
    "unsigned dictionary": pa.dictionary(pa.uint16(), pa.string()),
}


@pytest.mark.parametrize("strings", STRINGS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 1, "compression": "none"},
        {"row_group_size": 5, "compression": "gzip", "data_page_version": "2.0", "use_dictionary": False},
        {"store_schema": False, "compression": "lz4", "data_page_size": 1},
    ],
)
def test_every_layout_that_the_format_allows(foreign: Path, tmp_path: Path, strings: str, options: dict) -> None:
    tables = foreign_tables()
    for columns in tables.values():
        for name, array in columns.items():
            if name in ("kind", "name"):
                plain = array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array
                columns[name] = plain.cast(STRINGS[strings])
        columns["unknown"] = pa.array([[{"x": 1.5}]] * len(array))
    tables["contents"]["fingerprint"] = pa.array([b"x" * 16] * 3, pa.binary(16))
    tables["contents"]["data"] = pa.array([bytes(4096)] * 3, pa.large_binary())
    write_foreign(tmp_path / "other", tables, MANIFEST | {"unknown": [1]}, **options)
    assert_equal(open_trace(foreign), open_trace(tmp_path / "other"))


def test_optional_columns_may_be_missing_and_columns_stand_in_any_order(foreign: Path, tmp_path: Path) -> None:
    tables = foreign_tables()
    keep = [i for i, kind in enumerate(tables["events"]["kind"].to_pylist()) if kind not in ("tune", "mark")]
    for folder, columns in (
        ("all", list(tables["events"])),
        ("few", ["value", "page", "count", "space", "kind", "time_ns"]),
    ):
        events = {name: tables["events"][name].take(pa.array(keep)) for name in columns}
        write_foreign(tmp_path / folder, tables | {"events": events})
    assert_equal(open_trace(tmp_path / "all"), open_trace(tmp_path / "few"))


def test_a_trace_written_by_polars(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "trace.json").write_text(json.dumps(MANIFEST))
    for name, columns in foreign_tables().items():
        frame = pl.from_arrow(pa.table(columns))
        frame = frame.with_columns(pl.col("kind").cast(pl.Categorical)) if name == "events" else frame
        frame.write_parquet(tmp_path / "p" / f"{name}.parquet")
    assert_equal(open_trace(foreign), open_trace(tmp_path / "p"))


def test_what_a_verb_does_not_use_is_not_seen(foreign: Path, tmp_path: Path) -> None:
    tables = foreign_tables()
    events = tables["events"]
    kinds = events["kind"].to_pylist()
    for name, used in (
        ("page", "map madvise write move huge share migrate"),
        ("count", "map madvise write move huge share migrate"),
    ):
        cells = events[name].to_pylist()
        events[name] = pa.array(
            [cell if kind in used.split() else (1 << 64) - 1 for cell, kind in zip(cells, kinds, strict=True)],
            pa.uint64(),
        )
    cells = events["space"].to_pylist()
    cells[8] = (1 << 32) - 1  # a tune has no space
    events["space"] = pa.array(cells, pa.uint32())
    write_foreign(tmp_path / "noise", tables)
    assert_equal(open_trace(foreign), open_trace(tmp_path / "noise"))


def test_fingerprints_and_pages_survive(foreign: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    bare = open_trace(foreign)
    fingerprint = rng.integers(0, 256, (3, 16), dtype=np.uint8)
    pages = rng.integers(0, 256, (3, 4096), dtype=np.uint8)
    trace = replace(bare, fingerprint=fingerprint, manifest=MANIFEST | {"trace_id": "x"})
    write_trace(trace, tmp_path / "full", pages=iter([pages[:2], pages[2:]]))
    copy = open_trace(tmp_path / "full")
    np.testing.assert_array_equal(copy.fingerprint, fingerprint)
    assert_equal(bare, copy)
    np.testing.assert_array_equal(np.concatenate(list(read_pages(tmp_path / "full", 4096))), pages)
    for table in ("spaces", "events", "contents"):
        assert pq.read_schema(tmp_path / "full" / f"{table}.parquet").metadata[b"trace_id"] == b"x"
    for kind in (pa.binary(), pa.large_binary(), pa.binary(16)):
        values = pa.array([None, b"x" * 16, b"y" * 16]).cast(kind)
        write_foreign(
            tmp_path / str(kind),
            foreign_tables() | {"contents": foreign_tables()["contents"] | {"fingerprint": values}},
        )
        assert open_trace(tmp_path / str(kind)).fingerprint.tobytes() == bytes(16) + b"x" * 16 + b"y" * 16
    with pytest.raises(TraceError, match=r"without contents.*\[K05\]"):
        list(read_pages(foreign, 4096))
    with pytest.raises(TraceError, match=r"row 0: .*\[K05\]"):
        list(read_pages(tmp_path / "full", 8192))
    for wrong in ([pages[:2]], [pages, pages[:1]], [pages[:, :512]]):
        with pytest.raises(ValueError, match="pages"):
            write_trace(trace, tmp_path / "wrong", pages=wrong)
    assert not (tmp_path / "wrong").exists()


def test_nothing_is_overwritten_without_force(foreign: Path, tmp_path: Path) -> None:
    trace = open_trace(foreign)
    with pytest.raises(UsageError, match="--force"):
        write_trace(trace, foreign)
    write_trace(trace, foreign, force=True)
    assert_equal(trace, open_trace(foreign))
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="not a trace"):
        write_trace(trace, tmp_path / "photos", force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_trace(trace, tmp_path / "file" / "t")


def test_a_failure_leaves_what_was_there(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = open_trace(foreign)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(UsageError, match="disk full"):
        write_trace(trace, foreign, force=True)
    with pytest.raises(UsageError, match="disk full"):
        write_trace(trace, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    assert_equal(trace, open_trace(foreign))


def test_what_killed_writers_left_goes_and_a_link_stays(foreign: Path, tmp_path: Path) -> None:
    trace = open_trace(foreign)
    (tmp_path / f".t.{2**22 + 5}.new").mkdir()
    (tmp_path / f".t.{os.getppid()}.new").mkdir()  # of a writer that runs
    (tmp_path / "link").symlink_to("t")
    write_trace(trace, tmp_path / "link", force=True)
    assert (tmp_path / "link").readlink() == Path("t")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".t.{os.getppid()}.new", "link", "t"]


def test_replacing_where_names_cannot_be_exchanged(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = open_trace(foreign)
    monkeypatch.setattr(publish, "_exchange", lambda a, b: False)
    write_trace(trace, foreign, replace=True, level=1)
    assert_equal(trace, open_trace(foreign))
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


REPLACING = """
import sys
from ksmbench import open_trace, write_trace
trace = open_trace(sys.argv[1])
print("ready", flush=True)
while True:
    write_trace(trace, sys.argv[1], replace=True, level=1)
"""


def test_a_trace_that_is_replaced_opens_at_any_moment_and_after_a_kill(foreign: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", REPLACING, str(foreign)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        for _ in range(50):
            assert len(open_trace(foreign).events.kind) == 12
        process.kill()
    open_trace(foreign)


def test_a_trace_without_spaces_or_events_opens(tmp_path: Path) -> None:
    empty = {
        name: {column: array[:0] for column, array in columns.items()} for name, columns in foreign_tables().items()
    }
    empty["contents"] = {column: array[:1] for column, array in foreign_tables()["contents"].items()}
    write_foreign(tmp_path / "t", empty)
    assert len(open_trace(tmp_path / "t").events.kind) == 0


def test_a_trace_of_centuries_opens(tmp_path: Path) -> None:
    tables = foreign_tables()
    times = tables["events"]["time_ns"].to_pylist()
    tables["events"]["time_ns"] = pa.array([*times[:-1], (1 << 63) - 1], pa.int64())
    write_foreign(tmp_path / "t", tables)
    trace = open_trace(tmp_path / "t")
    assert trace.events.kind[-1] == Kind.MARK
