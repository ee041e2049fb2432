"""A trace in which nobody asks for merging saves nothing, and the commands say why."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ksmbench.trace.schema import Kind
from ksmbench.trace.store import write_trace
from tests.commands.running import run
from tests.report.synthetic import synthetic_trace

OPTIONS: dict[str, tuple[str, ...]] = {
    "replay": (),
    "compare": ("--design", "ksm", "-o", "out"),
    "sweep": ("--vary", "pages_to_scan=100", "--jobs", "1", "-o", "out"),
    "tune": ("--max-cpu", "10%", "--max-replays", "10", "--jobs", "1"),
}


@pytest.mark.parametrize("command", OPTIONS)
def test_a_note_says_that_nobody_asks(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = synthetic_trace(2, 200, 5)
    advice = np.where(whole.events.kind == Kind.MADVISE, 0, whole.events.value)
    write_trace(replace(whole, events=whole.events._replace(value=advice)), tmp_path / "quiet")
    monkeypatch.chdir(tmp_path)
    done = run(command, "quiet", *OPTIONS[command])
    assert "note: in quiet nobody asks for merging" in done.stderr
    assert "--mergeable all" in done.stderr


def test_nothing_is_said_where_all_are_made_to_ask_or_somebody_does(trace: Path, tmp_path: Path) -> None:
    assert run("replay", trace).stderr == ""
    whole = synthetic_trace(1, 200, 5)
    events = whole.events
    different = events._replace(kind=np.where(events.kind == Kind.WRITE, Kind.MARK, events.kind).astype(np.uint8))
    write_trace(replace(whole, events=different), tmp_path / "empty")
    assert run("replay", tmp_path / "empty").stderr == ""  # it asked, and has nothing
    assert run("replay", tmp_path / "empty", "--mergeable", "all").stderr == ""
