"""Crowds of short-lived processes: each is in the trace, and nothing of them stays with the capture."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ksmbench.capture.tracing.tracefs import Instance, TracingClosedError
from ksmbench.commands.capture import capture as command
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.capture.child import needs_root

_CROWD = """
import mmap, os, sys
for i in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        area = mmap.mmap(-1, 7 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area[0] = 1
        os._exit(0)
    os.waitpid(pid, 0)
"""

_FAMILY = """
import os, resource, signal, sys
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], flush=True)
for i in range(40):
    if not os.fork():
        break
signal.alarm(60)
signal.pause()
"""


@needs_root
@pytest.mark.parametrize(("limits", "n_recorded"), [("ulimit -Sn 100", 41), ("ulimit -n 100", None)])
def test_more_processes_than_a_shell_allows_open_files(tmp_path: Path, limits: str, n_recorded: int | None) -> None:
    options = ["--calls", "none", "--interval", "0.1", "--duration", "2"]
    words = [sys.executable, "-m", "ksmbench", "capture", "-o", str(tmp_path / "t"), *options]
    words += ["--", sys.executable, "-c", _FAMILY]
    with open(tmp_path / "said", "w") as said:  # no pipe, which the family would hold open
        shell = ["sh", "-c", f'{limits}; exec "$@"', "sh", *words]
        capture = subprocess.Popen(shell, stdout=said, stderr=said, start_new_session=True)
        status = capture.wait()
        os.killpg(capture.pid, signal.SIGKILL)
    text = (tmp_path / "said").read_text()
    assert status == 0, text
    assert "100" in text.splitlines()  # the command has the limit of the shell
    n = len(open_trace(tmp_path / "t").spaces)
    if n_recorded is not None:
        assert n == n_recorded
    else:
        assert n < 41
        assert "could not be recorded" in text


@needs_root
@pytest.mark.skipif(shutil.which("true") is None, reason="needs coreutils")
def test_children_that_no_look_saw(tmp_path: Path) -> None:
    try:
        Instance().close()
    except TracingClosedError as error:
        pytest.skip(f"needs tracefs: {error}")
    n = 400
    before = len(os.listdir("/proc/self/fd"))
    words = ["-o", str(tmp_path / "t"), "--interval", "0.2", "--", sys.executable, "-c", _CROWD, str(n)]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.output
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    events = open_trace(tmp_path / "t").events
    children = events.value[events.kind == Kind.FORK]
    assert len(children) == n
    for child in children.tolist():
        mine = np.flatnonzero(events.space == child)
        assert events.kind[mine[-1]] == Kind.EXIT
        areas = events.n_pages[mine][events.kind[mine] == Kind.MAP]
        assert 7 in areas
