"""`ksmbench info` says what is in a trace: as text that people read, and as JSON."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from ksmbench.cli import cli
from ksmbench.trace.show import duration, plain, share, size
from tests.trace.foreign import MANIFEST, foreign_tables, set_cell, write_foreign

CAPTURE = {
    "tool": "ksmbench 1",
    "interval_ns": 10**9,
    "consistency": "guests run\x1b[2J",
    "sources": ["qemu"],
    "x": None,
}


def info(trace: Path, *options: str) -> str:
    result = CliRunner().invoke(cli, ["info", str(trace), *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_json_has_the_raw_numbers(tmp_path: Path) -> None:
    write_foreign(tmp_path / "t", foreign_tables(), MANIFEST | {"capture": CAPTURE, "label": "two"})
    facts = json.loads(info(tmp_path / "t", "--json"))
    assert facts["events"] == 12
    assert facts["events_by_verb"]["fork"] == 1
    assert facts["events_at_start"] == 3
    assert facts["seconds"] == 9e-9
    assert facts["capture"] == CAPTURE
    assert facts["memory"]["start"]["pages"] == 2
    assert facts["memory"]["start"]["duplicates_within"] == 1
    assert facts["memory"]["end"]["pages"] == 512
    assert [space["end"]["alive"] for space in facts["spaces"]] == [True, False]
    assert facts["contents"] == {"distinct": 3, "written": 1, "equal_checksums": 0}
    assert facts["file_bytes"]["events.parquet"] == (tmp_path / "t" / "events.parquet").stat().st_size


def test_the_text_is_grouped_and_aligned(tmp_path: Path) -> None:
    write_foreign(tmp_path / "t", foreign_tables(), MANIFEST | {"capture": CAPTURE, "label": "two", "host": {}})
    lines = info(tmp_path / "t").splitlines()
    for title in ("Memory", "Events", "Capture"):
        assert title in lines
    assert "  an oracle would save" in " ".join(lines)
    rows = lines[lines.index("Memory") + 2 : lines.index("Memory") + 10]
    assert len({len(row.rstrip().split("%")[0]) for row in rows[1:]}) == 1
    assert "  interval     1.000 s" in lines
    assert not any("\x1b" in line for line in lines)
    assert [line.split()[:6] for line in lines if "gone" in line] == [["1", "b", "11", "process", "0", "B"]]


def test_many_spaces_are_cut_and_names_are_tamed(tmp_path: Path) -> None:
    tables = foreign_tables()
    n = 100
    tables["spaces"] = {
        "space": pa.array(np.arange(n), pa.uint32()),
        "pid": pa.array([None] * n, pa.int64()),
        "name": pa.array([None, "\x1b[31m\n" + "x" * 500] + ["p"] * (n - 2)),
        "kind": pa.array(["process"] * n),
        "domain": pa.array(["tenant"] + [None] * (n - 1)),
    }
    set_cell(tables, "events", "name", 8, "warp")
    write_foreign(tmp_path / "t", tables)
    text = info(tmp_path / "t")
    assert "and 60 more with less" in text
    assert "space-0 (tenant)" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 200
    assert "1  tunes of settings that no release has" in text


def test_an_empty_trace(tmp_path: Path) -> None:
    empty = {
        name: {column: array[:0] for column, array in columns.items()} for name, columns in foreign_tables().items()
    }
    empty["contents"] = {column: array[:1] for column, array in foreign_tables()["contents"].items()}
    write_foreign(tmp_path / "t", empty)
    assert "Spaces\n  none" in info(tmp_path / "t")


@pytest.mark.parametrize(
    "capture",
    [
        {"interval_ns": "soon"},
        {"interval_ns": True},
        {"interval_ns": 10**400},
        {"size_bytes": -5},
        {"a": {"b": [{}]}},
        {"\n": "\n"},
    ],
)
def test_any_capture_manifest_prints(tmp_path: Path, capture: dict) -> None:
    write_foreign(tmp_path / "t", foreign_tables(), MANIFEST | {"capture": capture})
    assert "Capture" in info(tmp_path / "t")


def test_units() -> None:
    assert [size(n) for n in (0, 1023, 1024, 5 << 20, 1 << 52)] == ["0 B", "1023 B", "1.0 KiB", "5.0 MiB", "4.0 PiB"]
    assert [duration(s) for s in (0.5, 90, 600, 90_000, 1e6)] == [
        "0.500 s",
        "90.000 s",
        "10.0 min",
        "25.0 h",
        "11.6 days",
    ]
    assert share(1, 3) == "33.3%"
    assert share(1, 0) == ""
    assert plain("a\x1bb" * 50) == "a?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?ba?b..."
