"""The engine equals the twin with numba's compiler off, and with every index checked."""

import os
import subprocess
import sys

import pytest

_CHECK = """
from tests.engine.test_releases import _differing
found = [wrong for name in {releases} for seed in {seeds} for wrong in _differing(name, range(seed, seed + 1))]
assert not found, found
"""
_RELEASES = ["ksm-7.3", "ksm-6.18", "ksm-6.10", "ksm-5.1", "ksm-3.9", "ksm-2.6.33"]


@pytest.mark.parametrize(
    ("switch", "seeds"), [("NUMBA_DISABLE_JIT", [5, 1002, 1003]), ("NUMBA_BOUNDSCHECK", [*range(20), 1003, 1011])]
)
def test_without_compiler_and_with_bounds_checks(switch: str, seeds: list[int]) -> None:
    releases = _RELEASES[::2] if switch == "NUMBA_DISABLE_JIT" else _RELEASES
    done = subprocess.run(
        [sys.executable, "-c", _CHECK.format(releases=releases, seeds=seeds)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, switch: "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
