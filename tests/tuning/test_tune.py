"""A search on a small trace: its goal, its evidence, its files; from Python and from the command line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ksmbench
from ksmbench.designs import find
from ksmbench.errors import UsageError
from ksmbench.trace.schema import Kind
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
    assert f"with `{found.label}`.**" in report
    assert f"what it shares within itself. Of `{found.label}`." in report
    assert "named first" not in report


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
        ("--max-cpu", "10%", "--cost", "none"),
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


def test_what_is_said_is_true_of_the_numbers(found: Tuning) -> None:
    best, default = found.best, found.default
    _, told, other = found.sentences()
    mib = f"{best['saved_bytes_net'] / 2**20:,.1f} MiB net"
    share = f"{100 * best['saved_bytes_net'] / best['oracle_saved_bytes']:.1f} % of what the oracle saves"
    assert mib in told
    assert share in told
    assert f"{100 * best['scan_cost_cpu_share']:.2f} % of one CPU" in told
    assert (
        f"{default['saved_bytes_net'] / 2**20:,.1f} MiB net for {100 * default['scan_cost_cpu_share']:.2f} %" in other
    )
    assert default["settings"] == ""
    alone = ksmbench.replay(found.sweep.paths["small"])
    assert alone.summary["saved_bytes_net"] == default["saved_bytes_net"]


@pytest.mark.parametrize("goal", [{"max_cpu": 0.5}, {"min_share": 0.5}, {"min_saving": 1 << 20}])
def test_a_trace_with_nothing_to_save_is_said(goal: dict[str, Any]) -> None:
    trace = synthetic_trace(2, 50, 3)
    is_write = trace.events.kind == Kind.WRITE
    value = np.where(is_write, np.cumsum(is_write), trace.events.value)  # every page another
    made = tune(replace(trace, events=trace.events._replace(value=value)), max_replays=10, jobs=2, **goal)
    assert not made.reached
    assert made.files == {}
    assert made.sentences()[1].startswith("There is nothing to save")


def test_a_trace_that_ends_too_early_is_said(trace: Path) -> None:
    made = tune(trace, min_share=0.99, within=3.0, until=0.2, max_replays=10, jobs=2)
    assert not made.reached
    assert "is not there when the trace ends, after 0.2 s" in made.sentences()[1]
    made = tune(trace, max_cpu=0.9, until=0.001, max_replays=10, jobs=2)
    assert made.sentences()[1].endswith("In the 0.0 s that were replayed nothing was merged; take a longer trace.")
    assert "-0.0" not in " ".join(made.sentences())


def test_a_policy_and_a_search_do_not_go_together(trace: Path) -> None:
    with pytest.raises(UsageError, match="leave policy out"):
        tune(trace, max_cpu=0.1, design="ksm-6.18,policy=mom")


def test_only_releases_of_linux_are_installed(trace: Path) -> None:
    made = tune(trace, max_cpu=1.0, design="madvise-rfc-2009", max_replays=10, jobs=2)
    assert made.reached
    assert made.files == {}
