"""Every broken trace ends `ksmbench info` with status 2 and one line that names the file, the row and the rule."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ksmbench.cli import main
from ksmbench.trace import rules, store
from tests.trace.foreign import MANIFEST, foreign_tables, set_cell, write_foreign

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, str], str]:
    """Run `ksmbench info t` in `tmp_path`; check status, form, file and rule; return the line."""

    def run(file: str, rule: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ksmbench", "info", str(tmp_path / "t")])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == 2
        assert out == ""
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert err.startswith(f"ksmbench: {tmp_path / 't' / file}: ")
        assert err.endswith(f" [{rule}]\n")
        return err

    return run


# Table, column, row, new value, rule.
CELLS = [
    ("spaces", "space", 1, 2, "S01"),
    ("spaces", "space", 1, 0, "S01"),
    ("spaces", "space", 0, None, "C05"),
    ("spaces", "kind", 1, "container", "S02"),
    ("spaces", "kind", 1, "", "S02"),
    ("spaces", "kind", 1, "a\nb\x1b[2J" * 99, "S02"),
    ("spaces", "kind", 1, None, "C05"),
    ("contents", "lcp", 0, 1, "K02"),
    ("contents", "lcp", 2, 4096, "K03"),
    ("contents", "lcp", 2, 65535, "K03"),
    ("contents", "lcp", 1, None, "C05"),
    ("contents", "checksum", 1, None, "C05"),
    ("events", "time_ns", 0, -1, "E03"),
    ("events", "time_ns", 4, 4, "E03"),
    ("events", "time_ns", 4, -(1 << 63), "E03"),
    ("events", "time_ns", 4, None, "C05"),
    ("events", "kind", 4, "teleport", "E01"),
    ("events", "kind", 4, "Write", "E01"),
    ("events", "kind", 4, "\x1b]0;x\n" * 99, "E01"),
    ("events", "kind", 4, None, "C05"),
    ("events", "space", 2, 2, "E04"),
    ("events", "space", 2, (1 << 32) - 1, "E04"),
    ("events", "space", 11, 2, "E04"),
    ("events", "space", 2, None, "E02"),
    ("events", "space", 2, 1, "E08"),
    ("events", "space", 10, 1, "E08"),
    ("events", "page", 2, None, "E02"),
    ("events", "page", 2, 1 << 52, "E05"),
    ("events", "page", 2, (1 << 64) - 1, "E05"),
    ("events", "page", 2, (1 << 52) - 1, "E05"),
    ("events", "page", 5, 1025, "E05"),
    ("events", "count", 2, 0, "E05"),
    ("events", "count", 2, None, "E02"),
    ("events", "count", 2, (1 << 64) - 1, "E05"),
    ("events", "count", 2, (1 << 64) - 1024, "E05"),
    ("events", "count", 4, 1 << 63, "E05"),
    ("events", "count", 5, 511, "E05"),
    ("events", "value", 0, 3, "E06"),
    ("events", "value", 0, -1, "E06"),
    ("events", "value", 2, 3, "E06"),
    ("events", "value", 2, -1, "E06"),
    ("events", "value", 2, 1 << 40, "E06"),
    ("events", "value", 2, None, "E02"),
    ("events", "value", 3, 2, "E04"),
    ("events", "value", 3, -1, "E04"),
    ("events", "value", 3, 0, "E08"),
    ("events", "value", 4, -1, "E05"),
    ("events", "value", 4, 1 << 52, "E05"),
    ("events", "value", 4, (1 << 63) - 1, "E05"),
    ("events", "value", 6, 7, "E04"),
    ("events", "value", 9, 2, "E06"),
    ("events", "value", 10, 256, "E06"),
    ("events", "value", 10, -1, "E06"),
    ("events", "name", 8, None, "E07"),
]


@pytest.mark.parametrize(("table", "column", "row", "value", "rule"), CELLS)
def test_a_broken_cell(
    tmp_path: Path, refused: Callable[[str, str], str], table: str, column: str, row: int, value: object, rule: str
) -> None:
    tables = foreign_tables()
    set_cell(tables, table, column, row, value)
    write_foreign(tmp_path / "t", tables)
    line = refused(f"{table}.parquet", rule)
    assert f"{table}.parquet: row {row}: " in line
    assert line[:-1].isprintable()


def a_child_forked_twice(events: dict[str, list]) -> None:
    events["kind"][7], events["space"][7], events["value"][7] = "fork", 0, 1


def an_act_before_birth(events: dict[str, list]) -> None:
    events["kind"][2], events["space"][2], events["value"][2] = "exit", 1, None


def a_share_with_the_dead(events: dict[str, list]) -> None:
    events["kind"][10], events["value"][10] = "share", 1


def a_second_exit(events: dict[str, list]) -> None:
    events["kind"][10], events["space"][10] = "exit", 1


def a_write_of_a_terabyte_of_pages(events: dict[str, list]) -> None:
    events["count"][2] = 1 << 40


@pytest.mark.parametrize(
    ("change", "rule", "row"),
    [
        (a_child_forked_twice, "E08", 7),
        (an_act_before_birth, "E08", 2),
        (a_share_with_the_dead, "E08", 10),
        (a_second_exit, "E08", 10),
        (a_write_of_a_terabyte_of_pages, "E09", None),
    ],
)
def test_broken_lives_and_sizes(
    tmp_path: Path,
    refused: Callable[[str, str], str],
    change: Callable[[dict[str, list]], None],
    rule: str,
    row: int | None,
) -> None:
    tables = foreign_tables()
    types = {name: array.type for name, array in tables["events"].items()}
    events = {name: array.to_pylist() for name, array in tables["events"].items()}
    change(events)
    types["kind"] = pa.string()
    tables["events"] = {name: pa.array(cells, types[name]) for name, cells in events.items()}
    write_foreign(tmp_path / "t", tables)
    line = refused("events.parquet", rule)
    assert row is None or f": row {row}: " in line


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (json.dumps(MANIFEST | {"format": "zip"}), "M02"),
        (json.dumps({"version": 1}), "M02"),
        (json.dumps(MANIFEST | {"version": 2}), "M03"),
        (json.dumps(MANIFEST | {"version": True}), "M03"),
        (json.dumps(MANIFEST | {"version": "1\n\n" * 99}), "M03"),
        (json.dumps(MANIFEST | {"version": 1.0}), "M03"),
        (json.dumps(MANIFEST | {"page_size": 4095}), "M04"),
        (json.dumps(MANIFEST | {"page_size": -4096}), "M04"),
        (json.dumps(MANIFEST | {"page_size": 1 << 40}), "M04"),
        (json.dumps(MANIFEST | {"page_size": None}), "M04"),
        (json.dumps(MANIFEST | {"host": []}), "M05"),
        (json.dumps(MANIFEST | {"capture": "yes"}), "M05"),
        (json.dumps(MANIFEST | {"created": 5}), "M05"),
        (json.dumps(MANIFEST | {"trace_id": 5}), "M05"),
        ("[]", "M01"),
        ("null", "M01"),
        ("", "M07"),
        ("{", "M07"),
        ('{"format": "ksmbench-trace", "version": NaN}', "M07"),
        ('{"format": Infinity}', "M07"),
        ('{"label": "\\ud800"}', "M07"),
        ("[" * 200_000, "M07"),
        ('{"version": ' + "9" * 9999 + "}", "M07"),
        (" " * ((16 << 20) + 1), "M07"),
        (b"\xff\xfe{}", "M07"),
        (None, "M06"),
    ],
)
def test_a_broken_manifest(
    tmp_path: Path, refused: Callable[[str, str], str], text: str | bytes | None, rule: str
) -> None:
    write_foreign(tmp_path / "t", foreign_tables())
    path = tmp_path / "t" / "trace.json"
    if text is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    assert refused("trace.json", rule)[:-1].isprintable()


def cut(count: int) -> Callable[[bytes], bytes]:
    return lambda whole: whole[:count]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": cut(0),
    "four bytes": cut(4),
    "no footer": cut(-9),
    "half": lambda whole: whole[: len(whole) // 2],
    "no beginning": lambda whole: whole[100:],
    "zeros": lambda whole: bytes(len(whole)),
    "text": lambda whole: b"time_ns,kind\n0,map\n",
    "zeros inside": lambda whole: whole[:4] + bytes(len(whole) - 12) + whole[-8:],
    "a footer that claims gigabytes": lambda whole: whole[:-8] + b"\xff\xff\xff\x7fPAR1",
    "encrypted footer": lambda whole: whole[:-4] + b"PARE",
}


@pytest.mark.parametrize("table", ["spaces", "events", "contents"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file(tmp_path: Path, refused: Callable[[str, str], str], table: str, damage: str) -> None:
    write_foreign(tmp_path / "t", foreign_tables())
    path = tmp_path / "t" / f"{table}.parquet"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    refused(f"{table}.parquet", "C07")


@pytest.mark.parametrize("table", ["spaces", "events", "contents"])
@pytest.mark.parametrize("instead", ["nothing", "folder", "dangling link"])
def test_a_missing_file(tmp_path: Path, refused: Callable[[str, str], str], table: str, instead: str) -> None:
    write_foreign(tmp_path / "t", foreign_tables())
    path = tmp_path / "t" / f"{table}.parquet"
    path.unlink()
    if instead == "folder":
        path.mkdir()
    elif instead == "dangling link":
        path.symlink_to("nowhere")
    refused(f"{table}.parquet", "C06")


@pytest.mark.parametrize(
    ("table", "other", "rule"),
    [
        ("spaces", "contents", "C01"),
        ("spaces", "events", "C03"),
        ("events", "spaces", "C01"),
        ("contents", "events", "C01"),
    ],
)
def test_swapped_files(tmp_path: Path, refused: Callable[[str, str], str], table: str, other: str, rule: str) -> None:
    tables = foreign_tables()
    write_foreign(tmp_path / "t", tables | {table: tables[other]})
    refused(f"{table}.parquet", rule if other != "events" or table == "contents" else "C01")


@pytest.mark.parametrize("table", ["spaces", "events", "contents"])
def test_a_table_of_another_trace(tmp_path: Path, refused: Callable[[str, str], str], table: str) -> None:
    write_foreign(tmp_path / "t", foreign_tables(), MANIFEST | {"trace_id": "x"})
    columns = pa.table(foreign_tables()[table]).replace_schema_metadata({"trace_id": "y"})
    pq.write_table(columns, tmp_path / "t" / f"{table}.parquet")
    refused(f"{table}.parquet", "C04")


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("events", "page", pa.int64()),
        ("events", "time_ns", pa.uint64()),
        ("events", "time_ns", pa.timestamp("ns")),
        ("events", "value", pa.float64()),
        ("events", "space", pa.int32()),
        ("events", "kind", pa.binary()),
        ("events", "count", pa.decimal128(20, 0)),
        ("events", "name", pa.list_(pa.string())),
        ("events", "name", pa.struct({"x": pa.string()})),
        ("spaces", "space", pa.uint64()),
        ("spaces", "pid", pa.string()),
        ("contents", "lcp", pa.int16()),
        ("contents", "lcp", pa.uint32()),
        ("contents", "checksum", pa.int32()),
        ("contents", "checksum", pa.bool_()),
    ],
)
def test_a_wrong_type(
    tmp_path: Path, refused: Callable[[str, str], str], table: str, column: str, kind: pa.DataType
) -> None:
    tables = foreign_tables()
    length = len(tables[table][column])
    tables[table][column] = pa.nulls(length, kind)
    write_foreign(tmp_path / "t", tables)
    assert f'"{column}"' in refused(f"{table}.parquet", "C03")


@pytest.mark.parametrize(("table", "column"), [("events", "value"), ("contents", "lcp"), ("spaces", "pid")])
def test_a_missing_or_doubled_column(
    tmp_path: Path, refused: Callable[[str, str], str], table: str, column: str
) -> None:
    tables = foreign_tables()
    kept = tables[table].pop(column)
    write_foreign(tmp_path / "t", tables)
    refused(f"{table}.parquet", "C01")
    names, arrays = [*tables[table], column, column], [*tables[table].values(), kept, kept]
    pq.write_table(pa.Table.from_arrays(arrays, names), tmp_path / "t" / f"{table}.parquet")
    refused(f"{table}.parquet", "C02")


def test_no_content_at_all_and_short_fingerprints(tmp_path: Path, refused: Callable[[str, str], str]) -> None:
    tables = foreign_tables()
    tables["contents"] = {name: array[:0] for name, array in tables["contents"].items()}
    write_foreign(tmp_path / "t", tables)
    refused("contents.parquet", "K01")
    prints = pa.array([None, b"x" * 16, b"x" * 15])
    for column in (prints, prints.cast(pa.large_binary())):
        pq.write_table(
            pa.table(foreign_tables()["contents"] | {"fingerprint": column}), tmp_path / "t/contents.parquet"
        )
        assert "row 2" in refused("contents.parquet", "K04")
    column = pa.array([None, b"x" * 15, b"x" * 15], pa.binary(15))
    pq.write_table(pa.table(foreign_tables()["contents"] | {"fingerprint": column}), tmp_path / "t/contents.parquet")
    assert "row 1" in refused("contents.parquet", "K04")


def test_names_that_are_no_text(tmp_path: Path, refused: Callable[[str, str], str]) -> None:
    tables = foreign_tables()
    write_foreign(tmp_path / "t", tables)
    not_text = pa.array([b"\xff\xfe", b"a"]).view(pa.string())
    pq.write_table(pa.table(tables["spaces"] | {"name": not_text}), tmp_path / "t" / "spaces.parquet")
    refused("spaces.parquet", "C07")


def test_a_tiny_file_of_many_rows_is_refused_before_it_is_read(
    tmp_path: Path, refused: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_foreign(tmp_path / "t", foreign_tables())
    rows = pa.table({"lcp": pa.repeat(pa.scalar(0, pa.uint16()), 5_000_000)})
    rows = rows.append_column("checksum", pa.repeat(pa.scalar(0, pa.uint32()), len(rows)))
    path = tmp_path / "t" / "contents.parquet"
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for _ in range(8):
            writer.write_table(rows)
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(store, "memory_limit", lambda: 2 << 30)
    assert "40,000,000 rows need 6.0 GiB" in refused("contents.parquet", "C08")


def test_every_rule_is_listed_and_tested() -> None:
    listed = {line.split()[0] for line in (rules.__doc__ or "").splitlines() if line[:3].isalnum() and line[3:4] == " "}
    listed = {word for word in listed if len(word) == 3 and word[0].isupper() and word[1:].isdigit()}
    sources = "".join(path.read_text() for path in (ROOT / "ksmbench").rglob("*.py"))
    tests = Path(__file__).read_text()
    assert len(listed) == 31
    for rule in listed - {"K05"}:
        assert f'"{rule}"' in tests
        assert f'"{rule}"' in sources or f"[{rule}]" in sources


def run_command(trace: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ksmbench", "info", str(trace)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_itself(tmp_path: Path) -> None:
    write_foreign(tmp_path / "t", foreign_tables())
    good = run_command(tmp_path / "t")
    assert good.returncode == 0, good.stderr
    assert good.stderr == ""
    (tmp_path / "t" / "events.parquet").write_bytes(b"PAR1" * 50)
    for path in (tmp_path / "t", tmp_path / "none", tmp_path / "t" / "trace.json"):
        broken = run_command(path)
        assert broken.returncode == 2
        assert broken.stdout == ""
        assert broken.stderr.count("\n") == 1
        assert str(path) in broken.stderr


def test_random_damage_never_crashes(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-W",
        "error",
        str(Path(__file__).with_name("fuzz_damage.py")),
        str(tmp_path),
        "0",
        "300",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 200
