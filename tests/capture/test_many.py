"""Crowds of short-lived processes: each is in the trace, and nothing of them stays with the capture."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ksmbench.capture.tracing.tracefs import Instance, TracingClosedError
from ksmbench.commands.capture import capture
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
    result = CliRunner().invoke(capture, words)
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
