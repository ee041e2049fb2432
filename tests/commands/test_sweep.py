"""`ksmbench sweep`."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ksmbench.commands.progress import Counter
from ksmbench.designs import find
from ksmbench.trace.schema import SETTINGS
from tests.commands.running import assert_one_line_mistake, run


def test_a_table_of_the_front_and_a_report(trace: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ("sweep", trace, "--vary", "pages_to_scan=100,1000", "-o", output, "--jobs", "1")
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ksm-6.18,pages_to_scan=100  (default)" in done.stdout
    assert done.stdout.endswith(f"report: {output / 'report.html'}\n")
    refused = run(*arguments)
    assert_one_line_mistake(refused)
    assert "--force" in refused.stderr
    document = json.loads(run(*arguments, "--force", "--json").stdout)
    assert [row["settings"] for row in document["summary"]] == ["pages_to_scan=100", "pages_to_scan=1000"]
    assert document["vary"] == {"pages_to_scan": ["100", "1000"]}


def test_an_interrupt_leaves_what_was_done_and_says_how_to_go_on(trace: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    vary = "pages_to_scan=" + ",".join(map(str, range(100, 400)))
    arguments = ["sweep", str(trace), "--vary", vary, "-o", str(output), "--jobs", "1"]
    with subprocess.Popen([sys.executable, "-m", "ksmbench", *arguments], stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stderr is not None
        while len(list(output.glob("unfinished/*.parquet"))) < 3 and sweep.poll() is None:
            time.sleep(0.02)
        sweep.send_signal(signal.SIGINT)
        said = sweep.stderr.read()
    assert sweep.returncode == 130
    assert "of 302 replays are done; the same command goes on from there" in said
    kept = len(list(output.glob("unfinished/*.parquet")))
    assert 3 <= kept < 302
    assert sorted(path.name for path in output.iterdir()) == ["unfinished"]
    lines = (output / "unfinished" / "finished.jsonl").read_text().splitlines()
    assert len(lines) == kept
    assert list(json.loads(lines[0]))[:3] == ["trace", "design", "settings"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--vary", "pages=1"),
        ("--vary", "pages_to_scan=1,2", "--design", "ksm-6.81"),
        ("--vary", "pages_to_scan=1,2", "--max-replays", "1"),
        ("--vary", "pages_to_scan=1,2", "--cost", "dear"),
        ("--vary", "pages_to_scan=1,2", "--jobs", "0"),
        ("--vary", "pages_to_scan=1,2", "--max-memory", "much"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(trace: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert_one_line_mistake(run("sweep", trace, *arguments, "-o", tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["nowhere", "tcp://here:there", "smoke://signal:1"])
def test_what_is_no_address_of_a_scheduler_is_a_mistake(trace: Path, tmp_path: Path, address: str) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'ksmbench[cluster]'")
    done = run("sweep", trace, "--vary", "run=1", "-o", tmp_path / "out", "--dask", address)
    assert_one_line_mistake(done)
    assert "tcp://host:8786" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_completion_knows_every_setting() -> None:
    assert [setting.name for setting in find("ksm").settings] == list(SETTINGS)


def test_progress_says_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    counter = Counter(draws=True)
    counter.tell(50, 200)
    clock[0] += 10
    counter.tell(70, 200)
    shown = capsys.readouterr().err
    assert shown.endswith("70 of 200 replays are done, 2.0 per second, 1:05 left")
