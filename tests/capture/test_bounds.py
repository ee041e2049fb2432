"""A capture keeps to its share of a CPU and to its space on disk, and says what an interval is too long for."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ksmbench.capture.cautions import about_interval, about_shared
from ksmbench.capture.manifest import Options
from ksmbench.capture.pace import Pace
from ksmbench.capture.session import Session
from ksmbench.capture.sources import find_processes
from ksmbench.capture.watched import Watched
from ksmbench.commands.capture import capture
from ksmbench.errors import KsmbenchError
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.spool import SpoolFullError
from ksmbench.trace.store import open_trace
from tests.capture.child import PAGE, Child, Memory, Recording, needs_root


def test_looks_are_left_out_for_a_share_of_the_cpu() -> None:
    pace = Pace(1.0, 0.1)
    now = cpu = 0.3  # the first checkpoint
    looks = 0
    while now < 200:
        due = pace.due(now, cpu)
        pace.looks_at(due, now, cpu)
        now, cpu, looks = due + 0.3, cpu + 0.3, looks + 1
        assert cpu <= 0.1 * now + 1e-9
    assert looks == pytest.approx(200 / 3, abs=3)
    assert pace.n_saved == pace.n_left_out
    assert pace.n_saved + looks == pytest.approx(200, abs=3)


def test_a_late_look_leaves_its_successors_where_they_were() -> None:
    pace = Pace(2.0)
    assert pace.due(0.1, 0.0) == 2.0
    pace.looks_at(2.0, 0.1, 0.0)
    assert pace.due(2.5, 1.0) == 4.0
    assert pace.due(9.1, 1.0) == 8.0  # at once
    pace.looks_at(8.0, 9.1, 1.0)
    assert (pace.n_left_out, pace.n_saved) == (2, 0)
    assert pace.due(9.2, 2.0) == 10.0


def test_a_capture_stays_below_its_share(tmp_path: Path) -> None:
    with Child() as child:
        child.do("big = area(20000); big[:] = bytes(range(256)) * (20000 * PAGE // 256)")
        session = Session(find_processes([child.pid]), Options(tmp_path / "t", 0.01, 4.0, max_cpu_share=0.1))
        facts = session.run()
    assert facts["looks_left_out_for_max_cpu"] > 100
    assert 0 < facts["cpu_share_since_first_look"] <= 0.15  # the last look is at the end, whatever it costs
    assert facts["max_cpu_share"] == 0.1
    assert facts["looks"] > 3


def test_a_last_look_that_takes_too_long_ends_before_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Watched.look

    def slow(self: Watched, clock: Callable[[], int]) -> None:
        look(self, clock)
        if clock():  # not at the first look
            time.sleep(0.3)

    monkeypatch.setattr(Watched, "look", slow)
    monkeypatch.setattr("ksmbench.capture.session._LEAST_OVERRUN_S", 0.0)
    with Child() as one, Child() as two, Child() as three:
        sources = find_processes([one.pid, two.pid, three.pid])
        facts = Session(sources, Options(tmp_path / "t", 0.2, 0.05)).run()
    assert facts["looks"] == 2
    assert facts["processes_not_in_last_look"] == 2
    assert facts["end"]["reason"] == "duration"
    assert len(open_trace(tmp_path / "t").spaces) == 3


def test_the_spool_stays_below_its_size() -> None:
    pages = np.random.default_rng(1).integers(1, 255, (12, PAGE), np.uint8)
    with ContentStore(PAGE, memory_bytes=4 * PAGE, max_file_bytes=9 * PAGE) as store:
        ids = store.add(pages[:8])
        with pytest.raises(SpoolFullError):
            store.add(pages[8:])
        assert store.is_full
        assert store.on_disk
        assert store.add(pages[:1]) == ids[:1] if len(store) < 9 else True
        assert len(store.rank().rank) == len(store) == 9
        assert (store.read(ids) == pages[:8]).all()


def test_a_capture_whose_spool_is_full_ends_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksmbench.capture.session._LEAST_MEMORY", PAGE)
    monkeypatch.setattr("ksmbench.capture.session.available_bytes", lambda: PAGE)
    with Child() as child:
        child.do("put(1, b'early')")
        recording = Recording([child], tmp_path / "t", max_spool_bytes=64 << 20)
        recording.looks()
        child.do("put(2, b'late')")
        child.do("import os; big = area(20000); big[:] = os.urandom(20000 * PAGE)")
        recording.join()
        memory = recording.finish()
    end = memory.trace.manifest["capture"]["end"]
    assert end["complete"]
    assert "--max-spool" in end["reason"]
    assert memory.of(child)[1] != 0
    assert 10_000 < len(memory.trace.contents.lcp) < 16_400


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@needs_root
def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_else(small_disk: Path) -> None:
    with Child() as child:
        child.do("put(1, b'early')")
        recording = Recording([child], small_disk / "t", keep_contents=True)
        recording.looks()
        child.do("import os; big = area(8000); big[:] = os.urandom(8000 * PAGE)")
        recording.looks()
        with pytest.raises(KsmbenchError, match="No space left on device") as caught:
            recording.finish()
    assert "\n" not in str(caught.value)
    memory = Memory(small_disk / "t")
    assert "checkpoint" in memory.trace.manifest["capture"]["end"]["reason"]
    assert memory.of(child)[1] != 0
    assert [path.name for path in small_disk.iterdir()] == ["t"]


def test_what_an_interval_is_too_long_for() -> None:
    settings: dict[str, int | str] = {"pages_to_scan": 100, "sleep_millisecs": 20}
    assert about_interval(1_000_000, 60.0, settings) == ""  # 200 s
    assert "in 2 s" in about_interval(10_000, 60.0, settings)
    assert about_interval(10_000, 60.0, {}) == ""
    assert about_shared([]) == ""
    assert "a, b" in about_shared(["a", "b"])


def test_a_long_interval_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast: dict[str, int | str] = {"run": 0, "pages_to_scan": 10_000, "sleep_millisecs": 20}
    monkeypatch.setattr("ksmbench.capture.host.ksm_settings", lambda: dict(fast))
    warned: list[str] = []
    with Child() as child:
        session = Session(find_processes([child.pid]), Options(tmp_path / "t", 5.0, 0.05))
        session.run(warn=warned.append)
    assert len(warned) == 1
    assert "--interval is 5 s" in warned[0]


def test_percentages() -> None:
    for wrong in ("0", "-1", "much", "nan", "inf%"):
        done = CliRunner().invoke(capture, ["-o", "t", "--pid", "1", "--max-cpu", wrong])
        assert done.exit_code == 2
        assert "percentage" in done.output


@needs_root
def test_looks_end_though_processes_come_all_the_time(tmp_path: Path) -> None:
    began = time.monotonic()
    words = ["sh", "-c", "while :; do sleep 0.03; done"]
    options = ["--interval", "0.2", "--duration", "3"]
    CliRunner().invoke(capture, ["-o", str(tmp_path / "t"), *options, "--", *words], catch_exceptions=False)
    assert time.monotonic() - began < 30
    trace = open_trace(tmp_path / "t")
    assert trace.manifest["capture"]["end"] == {
        **trace.manifest["capture"]["end"],
        "complete": True,
        "reason": "duration",
    }
    assert trace.manifest["capture"]["looks"] > 3
    assert len(trace.spaces) > 20
