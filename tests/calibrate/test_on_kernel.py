"""`ksmbench calibrate --quick` on the running kernel."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ksmbench.engine.cost import read_profile
from ksmbench.validate.sysfs import SETTINGS, KsmSession, read
from tests.commands.running import assert_one_line_mistake, run
from tests.kernel.needs import needs_kernel


@needs_kernel
def test_a_quick_calibration_is_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    done = run("calibrate", "-o", path, "--quick", "--rounds", 1)
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stdout
    profile = read_profile(path)
    assert profile.measured["quick"] is True
    assert 50 < profile.checksum_ns < 20_000
    assert 0 < profile.unstable_comparison_ns[0] + profile.unstable_comparison_ns[1] < 20_000
    assert_one_line_mistake(run("calibrate", "-o", path, "--quick"))


@needs_kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_stopped_puts_every_setting_back(tmp_path: Path, number: signal.Signals) -> None:
    with KsmSession():
        pass  # nobody else is at it, and what a killed one left is put back
    before = {name: read(name) for name in (*SETTINGS, "run")}
    path = tmp_path / "here.json"
    command = [sys.executable, "-m", "ksmbench", "calibrate", "-o", str(path), "--quick", "--rounds", "1000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as calibration:
        children = Path(f"/proc/{calibration.pid}/task/{calibration.pid}/children")
        # It plays, so it holds the lock: what is stored now is its own, not that of another test.
        while calibration.poll() is None and not (children.read_text() and read("smart_scan") != before["smart_scan"]):
            time.sleep(0.05)
        calibration.send_signal(number)
        _, said = calibration.communicate()
    assert calibration.returncode == 130
    assert said.strip() == "ksmbench: stopped; KSM's settings are as they were before, and nothing is written"
    assert {name: read(name) for name in (*SETTINGS, "run")} == before
    assert not path.exists()
