"""However a session ends, KSM gets its settings back, and nothing of it goes on living."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ksmbench.errors import KsmbenchError
from ksmbench.validate import lock, sysfs
from ksmbench.validate.kernel import play_on_kernel
from tests.kernel.needs import needs_kernel
from tests.kernel.scenarios import random_scenario

pytestmark = needs_kernel

# Plays for ever; says so once ksmd has been stepped.
_PLAYING = """
from ksmbench.validate import kernel
from tests.kernel.scenarios import random_scenario

trace, settings, n_batches = random_scenario(1003)
kernel.play_on_kernel(trace, n_batches=1, **settings)
print("playing", flush=True)
while True:
    kernel.play_on_kernel(trace, n_batches=n_batches, **settings)
"""


def _settings() -> dict[str, str]:
    return {name: sysfs.read(name) for name in (*sysfs.SETTINGS, "run")}


def _descendants(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


@pytest.fixture
def playing() -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAYING], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "playing\n"
    return process


def _end(process: "subprocess.Popen[str]", number: int) -> None:
    # While its session holds the settings.
    deadline = time.monotonic() + 60
    while sysfs.read("run") != "1" or sysfs.read("sleep_millisecs") == "20":
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(number)
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()


def test_a_killed_session_is_put_right_by_the_next(playing: "subprocess.Popen[str]") -> None:
    with lock.take_lock() as file:  # nobody has a session now
        before = lock.recorded(file) or _settings()
    _end(playing, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _descendants(playing.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _descendants(playing.pid) == []
    trace, settings, _ = random_scenario(1000)
    play_on_kernel(trace, n_batches=3, **settings)
    with lock.take_lock() as file:
        assert lock.recorded(file) == {}
        assert {name: value.split("[")[-1].split("]")[0] for name, value in _settings().items()} == {
            name: value.split("[")[-1].split("]")[0] for name, value in before.items()
        }


def test_an_interrupted_session_puts_the_settings_back(playing: "subprocess.Popen[str]") -> None:
    _end(playing, signal.SIGTERM)
    with lock.take_lock() as file:
        assert lock.recorded(file) == {}
        assert sysfs.read("run") != "1"
        assert sysfs.read("sleep_millisecs") == "20"
    assert _descendants(playing.pid) == []


def test_somebody_elses_use_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock.take_lock() as file:
        assert lock.recorded(file) == {}
        monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
        found = sysfs.read("run")
        sysfs.store("run", 1)
        try:
            assert "KSM is in use" in str(sysfs.why_not())
            trace, settings, _ = random_scenario(1000)
            with pytest.raises(KsmbenchError, match="KSM is in use"):
                play_on_kernel(trace, n_batches=3, **settings)
            assert sysfs.read("run") == "1"
        finally:
            sysfs.store("run", found)


def test_a_torn_record_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    with lock.take_lock() as file:
        lock.record(file, {"pages_to_scan": "100"})
        assert lock.recorded(file) == {"pages_to_scan": "100"}
        os.ftruncate(file.fileno(), 9)
        assert lock.recorded(file) == {}
        lock.erase(file)
        assert lock.recorded(file) == {}


def test_processes_that_ask_for_merging_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = "import mmap; m = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE); m.madvise(12); print(flush=True); input()"
    with lock.take_lock() as file:
        assert lock.recorded(file) == {}
        monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
        command = [sys.executable, "-c", asks]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            trace, settings, _ = random_scenario(1000)
            with pytest.raises(KsmbenchError, match=rf"other processes can be merged here.* {other.pid} \(python"):
                play_on_kernel(trace, n_batches=3, **settings)
            other.kill()
