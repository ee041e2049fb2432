"""A look that somebody asked for: a mark, with the memory as it was after the asking, published at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ksmbench.capture.requests import Requests
from ksmbench.trace.schema import Kind
from tests.capture.child import Child, Memory, needs_root


def _wait_for(path: Path, marks: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        manifest = path / "trace.json"
        if manifest.exists() and json.loads(manifest.read_text())["capture"]["marks"] >= marks:
            return
        time.sleep(0.02)


@needs_root
def test_sigusr1_takes_a_snapshot_at_once(tmp_path: Path) -> None:
    with Child() as child:
        words = ["-m", "ksmbench", "capture", "--pid", str(child.pid), "-o", str(tmp_path / "t"), "--interval", "3600"]
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        contents = []
        for n, content in enumerate((b"first", b"second"), start=1):
            _wait_for(tmp_path / "t", n - 1, process)
            child.do(f"put(5, {content!r})")
            process.send_signal(signal.SIGUSR1)
            _wait_for(tmp_path / "t", n, process)
            memory = Memory(tmp_path / "t")
            assert memory.rows[-1][0] == Kind.MARK
            contents.append(memory.of(child)[5])
            assert not memory.trace.manifest["capture"]["end"]["complete"]
        process.send_signal(signal.SIGTERM)
        output, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "interrupted" in output
    trace = Memory(tmp_path / "t").trace
    marks = [trace.names[trace.events.name[i]] for i, kind in enumerate(trace.events.kind) if kind == Kind.MARK]
    assert marks == ["snapshot 1", "snapshot 2"]
    assert contents[0] != contents[1]


def test_requests_wait_until_they_are_taken() -> None:
    requests = Requests()
    began = time.monotonic()
    requests.wait(0.05)
    assert time.monotonic() - began >= 0.05
    requests.look()
    requests.look()
    requests.wait(60)  # returns at once
    assert requests.take_looks()
    assert not requests.take_looks()
    assert not requests.ending
    requests.end()
    requests.wait(60)
    assert requests.ending
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("signals", [1, 20])
def test_a_signal_ends_the_waiting(signals: int) -> None:
    requests = Requests()
    before = signal.signal(signal.SIGUSR1, lambda *_: requests.look())
    try:
        for _ in range(signals):
            os.kill(os.getpid(), signal.SIGUSR1)
        requests.wait(60)
        assert requests.take_looks()
    finally:
        signal.signal(signal.SIGUSR1, before)
