"""Traces written by other programs are read; broken ones end in one sentence that names file, row and rule."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from ksmbench import TraceError, UsageError, open_trace, write_trace
from ksmbench.cli import cli

MANIFEST = {"format": "ksmbench-trace", "version": 1, "page_size": 4096}


def foreign_tables() -> dict[str, dict[str, pa.Array]]:
    """Columns of a small trace as a program that only has pyarrow would write it."""
    rows = [
        # time, kind, space, page, count, value
        (0, "map", 0, 1024, 1024, 0),
        (0, "madvise", 0, 1024, 1024, 12),
        (0, "write", 0, 1024, 2, 1),
        (5, "fork", 0, None, None, 1),
        (6, "move", 1, 1024, 1, 4096),
        (7, "huge", 0, 1024, 512, None),
        (7, "share", 1, 1025, 1, 0),
        (8, "exit", 1, None, None, None),
        (9, "tune", None, None, None, 0),
    ]
    time, kind, space, page, count, value = zip(*rows, strict=True)
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
            "name": pa.array([None] * 8 + ["run"], pa.large_string()),
        },
        "contents": {
            "lcp": pa.array([0, 7, 100], pa.uint16()),
            "checksum": pa.array([5, 6, 7], pa.uint32()),
        },
    }


def write_foreign(folder: Path, tables: dict[str, dict[str, pa.Array]], manifest: object) -> None:
    folder.mkdir()
    (folder / "trace.json").write_text(json.dumps(manifest))
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    write_foreign(tmp_path / "t", foreign_tables(), MANIFEST)
    return tmp_path / "t"


def test_foreign_trace_opens_and_survives_a_round_trip(foreign: Path, tmp_path: Path) -> None:
    trace = open_trace(foreign)
    assert [space.name for space in trace.spaces] == ["a", "b"]
    assert trace.names == ("run",)
    write_trace(trace, tmp_path / "copy")
    copy = open_trace(tmp_path / "copy")
    assert copy.spaces == trace.spaces
    for before, after in zip(trace.events, copy.events, strict=True):
        np.testing.assert_array_equal(before, after)
        assert not after.flags.writeable
    for before, after in zip(trace.contents, copy.contents, strict=True):
        np.testing.assert_array_equal(before, after)


def test_nothing_is_overwritten_without_force(foreign: Path, tmp_path: Path) -> None:
    trace = open_trace(foreign)
    with pytest.raises(UsageError, match="--force"):
        write_trace(trace, foreign)
    write_trace(trace, foreign, force=True)
    assert open_trace(foreign).names == ("run",)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_info_prints_the_verbs(foreign: Path) -> None:
    result = CliRunner().invoke(cli, ["info", str(foreign), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.output)["events_by_verb"]["fork"] == 1


# Each case: table, column, row, new value, rule.
CELLS = [
    ("spaces", "space", 1, 2, "S01"),
    ("spaces", "space", 0, None, "C05"),
    ("spaces", "kind", 1, "container", "S02"),
    ("spaces", "kind", 1, None, "C05"),
    ("contents", "lcp", 0, 1, "K02"),
    ("contents", "lcp", 2, 4096, "K03"),
    ("contents", "lcp", 1, None, "C05"),
    ("contents", "checksum", 1, None, "C05"),
    ("events", "time_ns", 0, -1, "E03"),
    ("events", "time_ns", 4, 4, "E03"),
    ("events", "time_ns", 4, None, "C05"),
    ("events", "kind", 4, "teleport", "E01"),
    ("events", "kind", 4, None, "C05"),
    ("events", "space", 2, 2, "E04"),
    ("events", "space", 2, None, "E02"),
    ("events", "space", 2, 1, "E08"),
    ("events", "page", 2, None, "E02"),
    ("events", "page", 2, 1 << 52, "E05"),
    ("events", "page", 2, (1 << 64) - 1, "E05"),
    ("events", "page", 2, (1 << 52) - 1, "E05"),
    ("events", "page", 5, 1025, "E05"),
    ("events", "count", 2, 0, "E05"),
    ("events", "count", 2, None, "E02"),
    ("events", "count", 2, (1 << 64) - 1, "E05"),
    ("events", "count", 5, 511, "E05"),
    ("events", "value", 0, 3, "E06"),
    ("events", "value", 0, -1, "E06"),
    ("events", "value", 2, 3, "E06"),
    ("events", "value", 2, -1, "E06"),
    ("events", "value", 2, None, "E02"),
    ("events", "value", 3, 2, "E04"),
    ("events", "value", 3, 0, "E08"),
    ("events", "value", 4, -1, "E05"),
    ("events", "value", 4, 1 << 52, "E05"),
    ("events", "value", 4, (1 << 63) - 1, "E05"),
    ("events", "value", 6, 7, "E04"),
    ("events", "name", 8, None, "E07"),
]


@pytest.mark.parametrize(("table", "column", "row", "value", "rule"), CELLS)
def test_a_broken_cell_is_named(tmp_path: Path, table: str, column: str, row: int, value: object, rule: str) -> None:
    tables = foreign_tables()
    array = tables[table][column]
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    cells = array.to_pylist()
    cells[row] = value
    tables[table][column] = pa.array(cells, kind)
    write_foreign(tmp_path / "t", tables, MANIFEST)
    with pytest.raises(TraceError, match=re.escape(f"[{rule}]")) as caught:
        open_trace(tmp_path / "t")
    message = str(caught.value)
    assert f"{table}.parquet: row {row}: " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"format": "zip"}, "M02"),
        ({"version": 2}, "M03"),
        ({"version": True}, "M03"),
        ({"version": "1"}, "M03"),
        ({"page_size": 4095}, "M04"),
        ({"page_size": None}, "M04"),
        ({"host": []}, "M05"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, change: dict, rule: str) -> None:
    write_foreign(tmp_path / "t", foreign_tables(), MANIFEST | change)
    with pytest.raises(TraceError, match=re.escape(f"[{rule}]")):
        open_trace(tmp_path / "t")


@pytest.mark.parametrize("table", ["spaces", "events", "contents"])
def test_damaged_files_are_refused(foreign: Path, table: str) -> None:
    path = foreign / f"{table}.parquet"
    whole = path.read_bytes()
    for broken in (b"", whole[:-9], whole[: len(whole) // 2], b"PAR1" + whole[9:], b"\0" * 64):
        path.write_bytes(broken)
        result = CliRunner().invoke(cli, ["info", str(foreign)])
        assert isinstance(result.exception, TraceError)
        assert result.exception.exit_code == 2
    path.unlink()
    with pytest.raises(TraceError, match="missing"):
        open_trace(foreign)


def test_swapped_tables_wrong_types_and_foreign_ids_are_refused(tmp_path: Path) -> None:
    tables = foreign_tables()
    swapped = tables | {"spaces": tables["contents"]}
    write_foreign(tmp_path / "swapped", swapped, MANIFEST)
    with pytest.raises(TraceError, match=re.escape("[C01]")):
        open_trace(tmp_path / "swapped")
    wrong = foreign_tables()
    wrong["events"]["page"] = wrong["events"]["page"].cast(pa.int64())
    write_foreign(tmp_path / "types", wrong, MANIFEST)
    with pytest.raises(TraceError, match=re.escape("[C03]")):
        open_trace(tmp_path / "types")
    write_foreign(tmp_path / "ids", foreign_tables(), MANIFEST | {"trace_id": "x"})
    table = pa.table(foreign_tables()["events"]).replace_schema_metadata({"trace_id": "y"})
    pq.write_table(table, tmp_path / "ids" / "events.parquet")
    with pytest.raises(TraceError, match=re.escape("[C04]")):
        open_trace(tmp_path / "ids")


def test_a_trace_without_spaces_or_events_opens(tmp_path: Path) -> None:
    empty = {
        name: {column: array[:0] for column, array in columns.items()} for name, columns in foreign_tables().items()
    }
    empty["contents"] = {column: array[:1] for column, array in foreign_tables()["contents"].items()}
    write_foreign(tmp_path / "t", empty, MANIFEST)
    assert len(open_trace(tmp_path / "t").events.kind) == 0
