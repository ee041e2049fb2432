"""Traces that are valid but enormous: replayed where that is cheap, else refused in one sentence before any work."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.commands.running import assert_one_line_mistake, run
from tests.trace.foreign import foreign_tables, write_foreign

ALL = 1 << 52
EVER = (1 << 63) - 1
MAPPED: list[tuple[Any, ...]] = [(0, "map", 0, 0, ALL, 0), (0, "madvise", 0, 0, ALL, 12), (0, "write", 0, 10, 4, 1)]


def write(folder: Path, rows: list[tuple[Any, ...]], n_spaces: int = 1) -> Path:
    """A trace of these events: time, kind, space, page, count, value."""
    time_ns, kind, space, page, count, value = zip(*rows, strict=True)
    tables = foreign_tables()
    tables["spaces"] = {
        "space": pa.array(range(n_spaces), pa.uint32()),
        "pid": pa.nulls(n_spaces, pa.int64()),
        "name": pa.nulls(n_spaces, pa.string()),
        "kind": pa.array(["process"] * n_spaces),
    }
    tables["events"] = {
        "time_ns": pa.array(time_ns, pa.int64()),
        "kind": pa.array(kind, pa.string()),
        "space": pa.array(space, pa.uint32()),
        "page": pa.array(page, pa.uint64()),
        "count": pa.array(count, pa.uint64()),
        "value": pa.array(value, pa.int64()),
    }
    write_foreign(folder, tables)
    return folder


@pytest.mark.parametrize(
    ("rows", "arguments", "words"),
    [
        ([(1, "write", 0, 0, ALL, 1)], (), "--max-memory"),
        ([(1, "huge", 0, 0, ALL, None)] * 3, (), "--max-memory"),
        ([(1 << 62, "write", 0, 1, 1, 1)], (), "batches of ksmd"),
        ([(1 << 62, "write", 0, 1, 1, 1)], ("--design", "none"), "10,000,000"),
        ([(EVER, "write", 0, 1, 1, 1)], ("--sample", "end"), "end earlier with --until"),
        ([(10**12, "write", 0, 1, 1, 1)], ("--sample", "0.001", "--max-memory", "500M"), "sample less often"),
        ([(10**12, "write", 0, 1, 1, 1)], ("--sample", "batch", "--max-memory", "10M"), "sample less often"),
        ([(10**12, "write", 0, 1, 1, 1)], ("--sample", "1e-4", "--until", "2000"), "sample less often"),
    ],
)
def test_refused_before_it_starts(
    tmp_path: Path, rows: list[tuple[Any, ...]], arguments: tuple[str, ...], words: str
) -> None:
    done = run("replay", write(tmp_path / "t", MAPPED + rows), *arguments)
    assert_one_line_mistake(done)
    assert words in done.stderr


def test_a_trace_that_begins_at_the_end_of_time(tmp_path: Path) -> None:
    trace = write(tmp_path / "t", [(EVER, *row[1:]) for row in MAPPED])
    done = run("replay", trace)
    assert_one_line_mistake(done)
    assert "let its times begin at 0" in done.stderr
    assert run("info", trace).returncode == 0


@pytest.mark.parametrize("design", ["none", "oracle", "ksm-6.18"])
def test_replayed_where_it_is_cheap(tmp_path: Path, design: str) -> None:
    rows = [(1, "read", 0, 0, 1 << 51, None), *((2, "write", 0, i << 40, 1, 2) for i in range(1, 4000))]
    rows += [(3, "fork", i, None, None, i + 1) for i in range(50)]
    trace = write(tmp_path / "t", MAPPED + rows + [(EVER, "mark", 0, None, None, None)], 51)
    done = run("replay", trace, "--design", design, "--until", "20", "--check")
    assert done.returncode == 0, done.stderr


def test_a_snapshot_whose_scans_outlast_time_ends(tmp_path: Path) -> None:
    trace = write(tmp_path / "t", [*MAPPED, (0, "write", 0, 100, 3000, 2)])
    done = run("replay", trace, "--sample", "end", "--set", "sleep_millisecs=4294967295", "--set", "pages_to_scan=1")
    assert done.returncode == 0, done.stderr


def test_many_moves_of_a_scattered_process(tmp_path: Path) -> None:
    n = 20_000
    rows = [(1, "write", 0, 1000 * i, 1, 2) for i in range(n)]
    rows += [(2 + i, "move", 0, 1000 * (i % n), 2, (1000 * i + 500) % (1000 * n)) for i in range(3000)]
    trace = write(tmp_path / "t", MAPPED + rows)
    assert run("info", trace).returncode == 0
    assert run("replay", trace, "--sample", "end", "--design", "none").returncode == 0


def test_rows_about_spaces_have_a_limit_too(tmp_path: Path) -> None:
    n = 300
    rows = [(0, "fork", i, None, None, i + 1) for i in range(n - 1)]
    trace = write(tmp_path / "t", [*MAPPED, *rows, (10**9, "mark", 0, None, None, None)], n)
    options = ("--sample", "0.0001", "--max-memory", "40M", "--spaces", tmp_path / "s.parquet")
    done = run("replay", trace, *options)
    assert_one_line_mistake(done)
    assert "single spaces" in done.stderr
