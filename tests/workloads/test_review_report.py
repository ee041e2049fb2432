"""The report about the 2009 review: all questions are answered, from the runs alone, in pages that need no network."""

import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from workloads.review_2009 import QUESTIONS
from workloads.review_2009.__main__ import main
from workloads.review_2009.parameters import report_parameters
from workloads.review_2009.report import answers, page
from workloads.review_2009.report.runs import Runs, stopped
from workloads.review_2009.report.telling import SAME, Answer, against, both, grouped
from workloads.review_2009.workloads import make

SMALL = {
    "prefork": {"seconds": 20, "data_pages": 256, "workers": 3, "lifetime": 4, "fork_after": 3, "reload_every": 5},
    "vms": {"seconds": 20, "short": 6, "ram_pages": 200, "lifetime": 4, "boot": 1},
    "allocators": {"seconds": 15, "processes": 3, "last_pages": 256},
    "crowd": {"seconds": 10, "processes": 80},
    "idle": {"seconds": 15, "processes": 60, "sparse_pages": 4096, "busy_pages": 64},
    "churn": {"seconds": 25, "processes": 4, "chunks": 6},
    "unmodified": {"seconds": 10, "pages": 400, "asking_pages": 100},
}


def _runs() -> Runs:
    quick = {"stop_at": 12.0, "resume_at": 15.0, "rates": (200, 1000), "rounds": 2}
    runs = Runs(parameters=replace(report_parameters(), **quick), changes=SMALL)
    runs.recorded = lambda *_: []  # type: ignore[method-assign]
    return runs


@pytest.fixture(scope="module")
def answered() -> tuple[Runs, list[Answer]]:
    runs = _runs()
    return runs, answers.answer(runs)


def test_every_question_is_answered_with_tables_and_figures(answered: tuple[Runs, list[Answer]]) -> None:
    _, told = answered
    assert [answer.name for answer in told] == list(QUESTIONS)
    for answer in told:
        assert answer.short.endswith(".")
        assert answer.sentences
        assert answer.tables
        for text in (answer.short, *answer.sentences):
            assert not re.search(r"None|nan|\{|\}|  |\binf\b", text), text
            assert text.count("`") % 2 == 0
        for table in answer.tables:
            assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_files_need_no_network_and_no_machine_shows_in_them(
    answered: tuple[Runs, list[Answer]], tmp_path: Path
) -> None:
    runs, told = answered
    page.write(runs, told, tmp_path / "report")
    assert {one.name for one in (tmp_path / "report").iterdir()} == set(page.FILES)
    html = (tmp_path / "report" / "report.html").read_text()
    assert len(html) < 2 << 20
    assert not re.search(r'(src|href)="(?!#)', html.split('<script type="module">')[0])
    figures = pl.read_parquet(tmp_path / "report" / "figures.parquet")
    drawn = [figure.name for answer in told for figure in answer.figures]
    assert figures["figure"].unique(maintain_order=True).to_list() == drawn
    assert html.count('class="plot"') == len(drawn)
    rows = pl.read_csv(tmp_path / "report" / "runs.csv", infer_schema_length=None)
    assert len(rows) == len(runs.made)


def test_the_same_runs_make_the_same_files_but_for_the_provenance(tmp_path: Path) -> None:
    for name in ("one", "other"):
        runs = _runs()
        page.write(runs, answers.answer(runs, ("mremap", "stop")), tmp_path / name)
    for name in page.FILES:
        if name != "provenance.json":
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_a_question_must_be_one_and_a_folder_that_is_something_else_stays(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["report", "why"]).exit_code == 2
    (tmp_path / "other.txt").write_text("mine")
    refused = CliRunner().invoke(main, ["report", "stop", "-o", str(tmp_path), "--force"])
    assert "exists already" in str(refused.exception)
    assert (tmp_path / "other.txt").exists()


def test_a_stop_is_put_into_a_trace_at_its_time() -> None:
    trace = stopped(make("unmodified", **SMALL["unmodified"]), 4.0, 6.0, 2)
    tunes = [i for i, name in enumerate(trace.events.name) if name >= 0 and trace.names[name] == "run"]
    assert [trace.events.time_ns[i] for i in tunes] == [4_000_000_000, 6_000_000_000]
    assert [trace.events.value[i] for i in tunes] == [2, 1]
    assert (trace.events.time_ns[1:] >= trace.events.time_ns[:-1]).all()


def test_words_follow_the_numbers() -> None:
    assert against(100.4, 100, 0.01) == SAME
    assert against(92, 100, 0.01) == "8.0 % less than"
    assert against(110, 100, 0.01) == "10.0 % more than"
    assert against(310, 100, 0.01) == "3.1 times as much as"
    assert against(-1, 0, 0.01) == "less than"
    assert both(["a"]) == "a"
    assert both(["a", "b", "c"]) == "a, b and c"
    words = {"x": SAME, "y": SAME, "z": "3.0 % less than"}
    assert grouped(words) == "about the same on `x` and `y`, 3.0 % less on `z`"
