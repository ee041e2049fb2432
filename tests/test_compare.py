"""`ksmbench.compare` and `ksmbench compare`."""

import json
from pathlib import Path

import polars as pl
import pytest

from ksmbench import UsageError
from ksmbench.comparing import compare
from ksmbench.replaying import replay
from ksmbench.specs import parse_design
from ksmbench.trace.store import write_trace
from tests.commands.running import Done, run
from tests.report.synthetic import synthetic_trace

FAST = "ksm-6.18,pages_to_scan=1000,sleep_millisecs=50"


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trace on disk."""
    folder = tmp_path_factory.mktemp("trace") / "small"
    write_trace(synthetic_trace(2, 200, 5), folder)
    return folder


def compare_command(*arguments: object) -> Done:
    """`ksmbench compare` with these arguments."""
    return run("compare", *arguments)


def test_every_row_equals_a_replay_alone(trace: Path) -> None:
    told: list[float] = []
    comparison = compare(trace, ["none", FAST, "oracle"], progress=told.append)
    assert comparison.samples.columns[:4] == ["trace", "design", "settings", "time_ns"]
    assert comparison.summary.columns[:3] == ["trace", "design", "settings"]
    assert comparison.summary.select("design", "settings").rows() == [
        ("none", ""),
        ("ksm-6.18", "pages_to_scan=1000,sleep_millisecs=50"),
        ("oracle", ""),
    ]
    alone = replay(trace, pages_to_scan=1000, sleep_millisecs=50)
    mine = comparison.samples.filter(design="ksm-6.18").drop("trace", "design", "settings")
    assert mine.equals(alone.samples)
    row = comparison.summary.row(1, named=True)
    assert {name: row[name] for name in alone.summary} == alone.summary
    assert set(comparison.bounds["design"]) == {"none", "oracle"}
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_several_traces_are_told_apart(trace: Path, tmp_path: Path) -> None:
    other = tmp_path / "small"
    write_trace(synthetic_trace(2, 100, 2, seed=2), other)
    comparison = compare([trace, other], ["ksm-6.18"], tmp_path / "out", jobs=1)
    assert comparison.summary["trace"].to_list() == [str(trace), str(other)]
    written = pl.read_parquet(tmp_path / "out" / "samples.parquet")
    assert written.equals(comparison.samples)
    assert written["trace"].n_unique() == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.md", "samples.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ksm-6.81", 'did you mean "ksm-6.8"'),
        ("ksm-6.18,page_to_scan=1", 'did you mean "pages_to_scan"'),
        ("ksm-6.18,pages_to_scan=many", "must be an integer"),
        ("ksm-6.18,pages_to_scan=-1", "must be an integer from 0"),
        ("ksm-6.18,pages_to_scan", "is not NAME=VALUE"),
        ("ksm-6.18,run=1,run=1", "set twice"),
        ("", "there is no design"),
    ],
)
def test_a_wrong_design_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_design(text)
    assert "\n" not in str(caught.value)


def test_nothing_twice_and_nothing_empty(trace: Path) -> None:
    with pytest.raises(UsageError, match="named twice"):
        compare(trace, ["ksm", "ksm-7.3"])
    with pytest.raises(UsageError, match="named twice"):
        compare([trace, trace], ["none"])
    with pytest.raises(UsageError, match="at least one design"):
        compare(trace, [])
    with pytest.raises(UsageError, match="at least one trace"):
        compare([], ["none"])


def test_an_error_in_a_later_task_ends_the_run(trace: Path) -> None:
    with pytest.raises(UsageError, match=r"^ksm-6.18,sleep_millisecs=0 on small: .*0"):
        compare(trace, ["ksm-6.18", "ksm-6.18,sleep_millisecs=0"], cost="none")


def test_an_interrupt_ends_every_replay(trace: Path, tmp_path: Path) -> None:
    told: list[float] = []

    def interrupt(part: float) -> None:
        told.append(part)
        if len(told) > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(trace, ["none", FAST, "ksm-6.18", "oracle"], tmp_path / "out", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_jobs_must_be_some(trace: Path) -> None:
    with pytest.raises(UsageError, match="jobs=0"):
        compare(trace, ["none"], jobs=0)


def test_the_command_prints_a_table_and_names_the_report(trace: Path, tmp_path: Path) -> None:
    done = compare_command(trace, "--design", "none", "--design", FAST, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert FAST in done.stdout
    assert done.stdout.endswith(f"report: {tmp_path / 'out' / 'report.html'}\n")


def test_the_command_prints_one_document(trace: Path, tmp_path: Path) -> None:
    done = compare_command(trace, "--design", FAST, "-o", tmp_path / "out", "--json", "--sample", "end")
    document = json.loads(done.stdout)
    assert document["summary"][0]["settings"] == "pages_to_scan=1000,sleep_millisecs=50"
    assert document["report"] == str(tmp_path / "out" / "report.html")


def test_an_existing_folder_is_refused(trace: Path, tmp_path: Path) -> None:
    arguments = (trace, "--design", "none", "-o", tmp_path / "out")
    assert compare_command(*arguments).returncode == 0
    before = (tmp_path / "out" / "report.html").stat().st_ino
    refused = compare_command(*arguments)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert (tmp_path / "out" / "report.html").stat().st_ino == before
    assert compare_command(*arguments, "--force").returncode == 0
    (tmp_path / "out" / "mine.txt").write_text("not a report's")
    foreign = compare_command(*arguments, "--force")
    assert foreign.returncode == 2
    assert "is not a report" in foreign.stderr
    assert (tmp_path / "out" / "mine.txt").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--desing", "none"),
        ("--design", "ksm-6.81"),
        ("--design", "ksm-6.18,pages=1"),
        ("--design", "none", "--sample", "often"),
        ("--design", "none", "--cost", "dear"),
        ("--design", "none", "--until", "-1"),
        ("--design", "none", "--jobs", "0"),
        ("--design", "none", "--max-memory", "1K"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(trace: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = compare_command(trace, *arguments, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
