"""A search on a small trace: its goal, its evidence, its files; from Python and from the command line."""

import json
from pathlib import Path

import pytest

import ksmbench
from ksmbench.designs import find
from ksmbench.errors import UsageError
from ksmbench.trace.store import write_trace
from ksmbench.tuning import INSTALLED, Tuning, _rows, search, tune
from ksmbench.tuning.goal import ABOUT_AS_CHEAP
from tests.commands.running import assert_one_line_mistake, run
from tests.report.synthetic import synthetic_trace


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines of 400 pages over 20 s."""
    folder = tmp_path_factory.mktemp("tune") / "small"
    write_trace(synthetic_trace(2, 400, 20), folder)
    return folder


@pytest.fixture(scope="module")
def found(trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    """The cheapest that saves half of what is possible in 10 s."""
    told: list[tuple[int, int]] = []
    output = tmp_path_factory.mktemp("tuned") / "out"
    made = tune(
        trace, output, min_share=0.5, within=10.0, host_memory=16 << 30, jobs=2, progress=lambda *at: told.append(at)
    )
    assert told[-1][0] <= told[-1][1] <= search.most(find("ksm-6.18"), {}, None)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    return made


def test_the_best_reaches_the_goal_and_nothing_cheaper_does(found: Tuning) -> None:
    assert found.reached
    assert not found.goal.misses(found.best)
    share = found.best["saved_bytes_net"] / found.best["oracle_saved_bytes"]
    assert share >= 0.5
    assert found.best["reached_s"] <= 10.0
    limit = found.best["scan_cost_cpu_share"] / ABOUT_AS_CHEAP
    cheaper = [row for row in _rows(found.sweep, found.goal) if row["scan_cost_cpu_share"] < limit]
    assert all(found.goal.misses(row) for row in cheaper)


def test_a_replay_with_the_settings_gives_what_was_said(found: Tuning, trace: Path) -> None:
    settings = {name: value for name, value in found.settings.items()}
    assert ksmbench.replay(trace, **settings).summary["saved_bytes_net"] == found.best["saved_bytes_net"]


def test_the_folder_has_the_evidence_and_the_files(found: Tuning) -> None:
    assert found.output is not None
    names = {path.name for path in found.output.iterdir()}
    assert names == {"report.html", "report.md", "samples.parquet", "summary.parquet", *INSTALLED}
    for name, text in found.files.items():
        assert (found.output / name).read_text() == text
    report = (found.output / "report.md").read_text()
    assert "ksmbench tune" in report
    assert "--min-saving 50% --within 10s" in report
    assert f"`{found.label}` chosen" in report


def test_settings_of_the_design_stay(trace: Path) -> None:
    made = tune(trace, max_cpu=1.0, design="ksm-6.1,pages_to_scan=50", jobs=2)
    assert made.settings["pages_to_scan"] == 50
    assert made.sweep.summary["settings"].str.contains("pages_to_scan=50").all()
    assert "smart_scan" not in made.settings


def test_the_command_line(trace: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = run(
        "tune", trace, "--max-cpu", "0.001%", "--min-saving", "90%", "--max-replays", "12", "-o", output, "--jobs", "2"
    )
    assert done.returncode == 1, done.stderr
    assert "No setting reaches it. The nearest, " in done.stdout
    assert not (output / "ksm.conf").exists()
    again = run("tune", trace, "--max-cpu", "50%", "--max-replays", "12", "-o", output, "--jobs", "2", "--json")
    assert_one_line_mistake(again)
    again = run(
        "tune", trace, "--max-cpu", "50%", "--max-replays", "12", "-o", output, "--jobs", "2", "--json", "--force"
    )
    document = json.loads(again.stdout)
    assert again.returncode == 0
    assert document["reached"] is True
    assert document["files"]["ksm.conf"] == str(output / "ksm.conf")
    assert document["replays"] <= 12


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--max-cpu", "0"),
        ("--max-cpu", "200%"),
        ("--min-saving", "much"),
        ("--within", "soon"),
        ("--max-cpu", "10%", "--design", "none"),
        ("--max-cpu", "10%", "--sample", "batch"),
    ],
)
def test_mistakes(trace: Path, arguments: tuple[str, ...]) -> None:
    assert_one_line_mistake(run("tune", trace, *arguments))


def test_a_step_of_the_search_is_made_of_what_the_release_has() -> None:
    old = find("ksm-2.6.38")
    assert search.searched(old) == ["pages_to_scan", "sleep_millisecs"]
    assert len(search.coarse(old, {})) == len(search.PAGES) * len(search.SLEEPS)
    with pytest.raises(UsageError, match="no settings to search"):
        tune(synthetic_trace(2, 10, 1), max_cpu=0.1, design="oracle")
