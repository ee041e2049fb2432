"""The report about smart scan and the advisor: its files belong together, and a reduced run gives the same twice."""

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from ksmbench.errors import UsageError
from workloads.prefork_report import REPORT
from workloads.prefork_report.answers import answer, cpu_at, whole_seconds
from workloads.prefork_report.page import FILES, check_output, write
from workloads.prefork_report.replays import MAIN, PLAN, Plan, Replays, replay_all

SHIPPED = Path(__file__).resolve().parents[2] / REPORT
SMALL = Plan(rates=(500, 1000), second_rates=(1000,), targets=(200,), until=30.0)


@pytest.fixture(scope="module")
def replays() -> Replays:
    return replay_all(SMALL, 2)


def test_the_same_replays_make_the_same_files_without_a_gap_in_their_words(replays: Replays, tmp_path: Path) -> None:
    for name in ("one", "other"):
        write(replays, answer(replays), tmp_path / name)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name
    html = (tmp_path / "one" / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!#)', html.split('<script type="module">')[0])
    for part in answer(replays):
        assert part.tables
        for text in (part.short, *part.sentences):
            assert not re.search(r"None|nan|\{|\}|  |\binf\b", text), text


def test_skips_come_with_smart_scan_alone(replays: Replays) -> None:
    for off, on in replays.pairs(MAIN):
        assert off["pages_skipped"] == 0
        assert on["pages_skipped"] > 0


def test_cpu_at_equal_saving_lies_between_two_rates_or_is_unknown(replays: Replays) -> None:
    fixed = replays.fixed(MAIN, 0)
    low, high = sorted(fixed, key=lambda one: one["saved_bytes_mean"])
    middle = cpu_at(fixed, (low["saved_bytes_mean"] + high["saved_bytes_mean"]) / 2)
    assert middle == pytest.approx((low["scan_cost_cpu_share"] + high["scan_cost_cpu_share"]) / 2)
    assert cpu_at(fixed, 2 * high["saved_bytes_mean"]) is None


@pytest.mark.parametrize(
    ("seconds", "told"), [(1.9, "dearer than it is"), (0.4, "cheaper than it is"), (3.05, "hardly a difference")]
)
def test_what_comes_of_whole_seconds_is_told_by_the_passes(replays: Replays, seconds: float, told: str) -> None:
    advised = next(one for one in replays.advised(MAIN) if one.smart_scan)
    n = 10
    ends = [int((advised["seconds"] - (n - i) * seconds / 100) * 1e9) for i in range(n)]
    passes = pl.DataFrame({"end_ns": ends, "seconds": [seconds] * n, "cpu_s": [0.1 * seconds] * n})
    (text,) = whole_seconds(replace(advised, passes=passes))
    assert told in text
    assert "where it takes 10.0 %" in text
    assert whole_seconds(replace(advised, passes=passes.clear())) == []


def test_the_shipped_report_is_of_this_plan_and_its_files_agree() -> None:
    assert {one.name for one in SHIPPED.iterdir()} == set(FILES)
    runs = pl.read_parquet(SHIPPED / "runs.parquet")
    main = runs.filter(trace=MAIN)
    assert main["pages_to_scan"].drop_nulls().unique().sort().to_list() == list(PLAN.rates)
    assert len(runs) == json.loads((SHIPPED / "provenance.json").read_text())["replays"]
    text = (SHIPPED / "report.md").read_text()
    for row in runs.iter_rows(named=True):
        assert row["command"] in text
        assert f"{row['pages_scanned']:,}" in text
    html = (SHIPPED / "report.html").read_text()
    assert html.count('class="plot"') == pl.read_parquet(SHIPPED / "figures.parquet")["figure"].n_unique()


def test_a_folder_that_is_something_else_stays(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        check_output(tmp_path, force=True)
