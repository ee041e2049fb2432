"""`ksmbench replay`."""

import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from ksmbench.metrics.summary import METRICS
from ksmbench.replaying import replay
from tests.commands.running import assert_one_line_mistake, run


def test_the_table_has_every_metric_and_says_how_to_read_it(trace: Path) -> None:
    done = run("replay", trace)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("ksm-6.18  run=1 pages_to_scan=100 sleep_millisecs=20 ")
    first_words = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert sorted(first_words) == sorted(metric.name for metric in METRICS if metric.group != "tracking")
    assert "MiB" in done.stdout
    assert " %" in done.stdout
    assert "`none` on the same trace" in done.stdout


def test_json_is_one_document_equal_to_the_api(trace: Path) -> None:
    done = run("replay", trace, "--json", "--set", "pages_to_scan=1000", "--set", "sleep_millisecs=50")
    document = json.loads(done.stdout)
    alone = replay(trace, pages_to_scan=1000, sleep_millisecs=50)
    assert document["design"] == "ksm-6.18"
    assert document["settings"] == alone.settings
    assert document["summary"] == alone.summary
    assert document["provenance"]["trace"]["label"] == "synthetic machines"


def test_the_file_holds_samples_and_where_they_are_from(trace: Path, tmp_path: Path) -> None:
    output, spaces = tmp_path / "result.parquet", tmp_path / "spaces.parquet"
    done = run("replay", trace, "-o", output, "--spaces", spaces, "--set", "pages_to_scan=1000", "--sample", "0.5")
    assert done.returncode == 0, done.stderr
    alone = replay(trace, pages_to_scan=1000, sample=0.5)
    assert pl.read_parquet(output).equals(alone.samples)
    assert pl.read_parquet(spaces).equals(alone.spaces)
    told = json.loads(pq.read_schema(output).metadata[b"ksmbench"])
    assert told["design"] == "ksm-6.18"
    assert told["settings"]["pages_to_scan"] == 1000
    assert told["options"]["sample"] == 0.5
    assert told["summary"] == alone.summary
    assert told["provenance"]["trace"]["name"] == "small"
    assert {"numba", "numpy", "polars", "pyarrow"} <= set(told["provenance"]["packages"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.parquet", "spaces.parquet"]


def test_an_existing_file_is_refused_before_any_work(trace: Path, tmp_path: Path) -> None:
    output = tmp_path / "result.parquet"
    output.write_text("precious")
    for option in ("-o", "--spaces"):
        refused = run("replay", trace, option, output)
        assert_one_line_mistake(refused)
        assert "--force" in refused.stderr
    assert output.read_text() == "precious"
    assert run("replay", trace, "-o", output, "--force").returncode == 0
    assert pl.read_parquet(output).height > 1


def test_two_outputs_must_be_two_files(trace: Path, tmp_path: Path) -> None:
    output = tmp_path / "one.parquet"
    assert_one_line_mistake(run("replay", trace, "-o", output, "--spaces", tmp_path / "." / "one.parquet"))
    assert not output.exists()


def test_a_file_that_cannot_be_written_is_one_line_and_status_1(trace: Path) -> None:
    done = run("replay", trace, "-o", "/proc/result.parquet")  # where not even root may make files
    assert done.returncode == 1
    assert done.stderr == "ksmbench: /proc/result.parquet: could not be written (No such file or directory)\n"
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--design", "ksm-6.81"), 'did you mean "ksm-6.8"?'),
        (("--design", "oracel"), 'did you mean "oracle"?'),
        (("--set", "page_to_scan=1"), 'did you mean "pages_to_scan"?'),
        (("--design", "ksm-5.10", "--set", "smart_scan=1"), '"smart_scan", which came with ksm-6.7'),
        (("--design", "ksm,wrprotect=pte"), '"wrprotect", which ksm-2.6.32 has'),
        (("--design", "ksm,pages_to_scan=1", "--set", "pages_to_scan=2"), "is set here and by --set"),
        (("--design", "ksm,policy=advisor", "--policy", "mom"), "is set here and by --policy"),
        (("--set", "pages_to_scan"), "NAME=VALUE"),
        (("--set", "pages_to_scan=many"), "NAME=VALUE with an integer"),
        (("--set", "pages_to_scan=-1"), "must be an integer from 0"),
        (("--design", "none", "--set", "pages_to_scan=1"), "its settings: none"),
        (("--sample", "often"), "sample=often"),
        (("--sample", "0"), "sample=0.0"),
        (("--sample", "nan"), "sample=nan"),
        (("--sample", "inf"), "sample=inf"),
        (("--cost", "dear"), "profiles: "),
        (("--cost", "none", "--set", "sleep_millisecs=0"), "sleep_millisecs=0"),
        (("--until", "-1"), "until=-1"),
        (("--until", "nan"), "until=nan"),
        (("--until", "soon"), "soon"),
        (("--max-memory", "9K"), "may be used"),
        (("--max-memory", "much"), "as in 8G"),
        (("--mergeable", "host-*"), "host-*"),
        (("-o", "missing/result.parquet"), "its folder does not exist"),
        (("-o", "."), "is a folder"),
        (("--unknown",), "--help"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(trace: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run("replay", trace, *arguments)
    assert_one_line_mistake(done)
    assert message in done.stderr


def test_settings_may_stand_in_the_text_of_the_design(trace: Path) -> None:
    sleep = ("--set", "sleep_millisecs=50", "--host-memory", "1G")
    apart = run("replay", trace, "--set", "pages_to_scan=7", "--policy", "kubevirt", *sleep)
    together = run("replay", trace, "--design", "ksm-6.18,pages_to_scan=7,policy=kubevirt", *sleep)
    assert together.returncode == 0, together.stderr
    assert together.stdout == apart.stdout


def test_no_trace_there(tmp_path: Path) -> None:
    assert_one_line_mistake(run("replay", tmp_path / "nowhere"))
    assert_one_line_mistake(run("replay"))


def test_a_recount_agrees(trace: Path) -> None:
    assert run("replay", trace, "--check").returncode == 0


@pytest.mark.parametrize("design", ["none", "oracle", "ksm"])
@pytest.mark.parametrize("sample", ["batch", "end", "2.5"])
def test_every_design_and_sampling(trace: Path, tmp_path: Path, design: str, sample: str) -> None:
    output = tmp_path / "result.parquet"
    done = run("replay", trace, "--design", design, "--sample", sample, "-o", output)
    assert done.returncode == 0, done.stderr
    if sample == "end":
        assert pl.read_parquet(output).height == 1
