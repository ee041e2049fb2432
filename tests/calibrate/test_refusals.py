"""What keeps a calibration from being made is one sentence before any work; what disturbs one is said after it."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ksmbench.calibrate import calibrating, host, measuring
from ksmbench.calibrate.calibrating import make_profile
from ksmbench.calibrate.fitting import Measurement
from ksmbench.calibrate.loads import calibration_loads
from ksmbench.calibrate.measuring import count_load, play_counted
from ksmbench.commands.calibrate import told
from ksmbench.errors import KsmbenchError
from tests.commands.running import run

QUIET = {"steal_percent": 0.1, "idle_percent": 40.0}


def test_without_root_nothing_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(calibrating, "calibration_loads", None)  # nobody gets there
    done = run("calibrate", "-o", tmp_path / "here.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ksmbench: playing on the running kernel needs root; run it with sudo\n"
    assert list(tmp_path.iterdir()) == []


def test_caches_that_nobody_tells_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(calibrating, "why_not", lambda: None)
    monkeypatch.setattr(host, "_CACHES", tmp_path)
    with pytest.raises(KsmbenchError, match="sysfs does not tell the sizes"):
        calibrating.calibrate(quick=True)


@pytest.fixture(scope="module")
def counted() -> measuring.Counted:
    """A small load, as the engine counts it."""
    return count_load(next(load for load in calibration_loads(quick=True) if load.name == "500 distinct"))


def test_a_kernel_that_does_not_tell_ksmds_time_is_said(
    counted: measuring.Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = SimpleNamespace(samples=SimpleNamespace(columns=[]), ksmd_cpu_ns=[0] * len(counted.work))
    monkeypatch.setattr(measuring, "play_on_kernel", lambda *_, **__: silent)
    with pytest.raises(KsmbenchError, match="CONFIG_SCHED_INFO"):
        play_counted(counted)


@pytest.mark.parametrize(("steal", "widest", "is_said"), [(0.1, 1.05, False), (5.0, 1.05, True), (0.1, 1.6, True)])
def test_a_disturbed_machine_is_said(counted: measuring.Counted, steal: float, widest: float, is_said: bool) -> None:
    spent = 1000.0 * (1.0 + counted.work.counters.sum(axis=1))
    rounds = np.array([spent, spent, spent * widest])
    made = make_profile(
        [Measurement(name, counted.work, rounds) for name in ("one", "two")], (6.6,), QUIET | {"steal_percent": steal}
    )
    assert ("measure again when it is quiet" in told(made)) is is_said


def test_the_table_is_one(counted: measuring.Counted) -> None:
    spent = 10.0 * (1.0 + counted.work.counters.sum(axis=1))
    made = make_profile([Measurement(name, counted.work, spent[None]) for name in ("one", "two")], (6.6, 12.6), QUIET)
    lines = told(made).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("price"))
    table = lines[first : lines.index("", first)]
    assert {len(line) for line in table} == {len(table[0])}
    assert all(line.endswith("–") for line in table[1:])  # one round tells no spread
