"""Progress is drawn on a terminal, and nowhere else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ksmbench.commands.progress import progress_bar
from ksmbench.jit import numba_config


def on_terminal(*arguments: object) -> tuple[str, str]:
    """What the command wrote to its standard error, a terminal, and to its standard output, a pipe."""
    leader, terminal = pty.openpty()
    command = [sys.executable, "-m", "ksmbench", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal) as running:
        os.close(terminal)
        drawn = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # the last writer is gone
                break
            if not part:
                break
            drawn += part
        assert running.stdout is not None
        printed = running.stdout.read()
    os.close(leader)
    assert running.returncode == 0
    return drawn.decode(), printed.decode()


def test_a_bar_is_drawn_to_its_end(trace: Path) -> None:
    drawn, printed = on_terminal("replay", trace, "--json")
    assert "ksm-6.18" in drawn
    assert "100%" in drawn
    assert printed.startswith("{")
    assert "%" not in printed.split("\n")[0]


def test_compiling_is_announced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(numba_config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar("replaying"):
        pass
    assert capsys.readouterr().err.startswith("compiling the engine")
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "kernel.nbi").touch()
    with progress_bar("replaying"):
        pass
    assert "compiling" not in capsys.readouterr().err
