"""`ksmbench calibrate --quick` on the running kernel."""

from pathlib import Path

from ksmbench.engine.cost import read_profile
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
