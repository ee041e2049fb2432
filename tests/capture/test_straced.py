"""strace as the source of system calls: what becomes of a capture where it cannot attach, or does not end."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import Mock

import pytest

from ksmbench.capture.manifest import Options
from ksmbench.capture.procfs import tracer
from ksmbench.capture.session import Session
from ksmbench.capture.sources import find_processes
from ksmbench.capture.tracing import straced
from ksmbench.capture.tracing.straced import Straced
from ksmbench.capture.tracing.tracefs import TracingClosedError
from ksmbench.errors import KsmbenchError
from ksmbench.syscalls.strace import StraceLog, parse_line
from tests.capture.child import Child, needs_root

# Says far more than a pipe holds, writes one call into the file after -o, and does not end when it is asked to.
_STUBBORN = """#!/bin/sh
trap '' TERM
while [ "$1" != -o ]; do shift; done
head -c 300000 /dev/zero | tr '\\0' 'x' >&2
echo '4711 1700000000.000001 munmap(0x7f0000000000, 4096) = 0' > "$2"
exec sleep 1000
"""


@pytest.fixture
def _no_tracefs(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed() -> NoReturn:
        raise TracingClosedError("tracefs is closed in this test")

    monkeypatch.setattr("ksmbench.capture.tracing.told.Tracer", closed)


@pytest.fixture
def traced() -> Iterator[Child]:
    # A process that another tracer holds.
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    with Child() as child:
        words = ["strace", "-q", "-o", "/dev/null", "-p", str(child.pid)]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as other:
            try:
                while tracer(child.pid) != other.pid:
                    assert other.poll() is None
                    time.sleep(0.01)
                yield child
            finally:
                other.terminate()


def _record(child: Child, output: Path, calls: str) -> tuple[dict[str, Any], list[str]]:
    warned: list[str] = []
    session = Session(find_processes([child.pid]), Options(output, 0.02, 0.1, calls=calls))
    return session.run(warn=warned.append), warned


@needs_root
@pytest.mark.usefixtures("_no_tracefs")
def test_looks_alone_tell_where_another_tracer_has_the_process(traced: Child, tmp_path: Path) -> None:
    facts, warned = _record(traced, tmp_path / "t", "auto")
    assert facts["system_calls"]["source"] == "differences between looks"
    assert "strace cannot attach" in facts["system_calls"]["why"]
    assert any("moves by mremap" in line for line in facts["tracked"])
    [told] = [line for line in warned if "strace" in line]
    assert "Operation not permitted" in told
    assert traced.do("answer = 42") == "42"


@needs_root
def test_a_strace_that_was_asked_for_must_attach(traced: Child, tmp_path: Path) -> None:
    with pytest.raises(KsmbenchError, match="strace cannot attach .*; leave out --calls strace"):
        _record(traced, tmp_path / "t", "strace")
    assert not (tmp_path / "t").exists()


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Straced]:
    (tmp_path / "strace").write_text(_STUBBORN)
    (tmp_path / "strace").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(straced, "_PATIENCE_S", 0.1)
    feed = Straced()
    feed.attach()
    yield feed
    feed.close()


def test_what_strace_says_does_not_hold_it_up(stubborn: Straced) -> None:
    sink = Mock()
    deadline = time.monotonic() + 60
    while not sink.unmap.called:
        assert time.monotonic() < deadline
        stubborn.tell(sink)
        time.sleep(0.01)
    assert sink.unmap.call_args.args[1:] == (4711, 0x7F0000000, 1)


def test_a_strace_that_does_not_end_is_killed(stubborn: Straced) -> None:
    assert stubborn._process is not None
    process = stubborn._process
    deadline = time.monotonic() + 60
    while not stubborn._lines:  # from then on it ignores what asks it to end
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stubborn.close()
    assert process.returncode == -9


def test_lines_of_a_thread_that_nobody_began_do_not_wait_for_ever() -> None:
    sink = Mock()
    sink.knows = lambda tid: tid == 1
    log = StraceLog(sink)

    def tell(*texts: str) -> None:
        for text in texts:
            line = parse_line(text)
            assert line is not None
            log.line(line)

    tell("1 1700000000.000000 brk(NULL) = 0x1000", "2 1700000001.000000 munmap(0x1000, 4096 <unfinished ...>")
    tell("3 1700000009.000000 munmap(0x2000, 4096) = 0")
    log.forget_early(1700000005 * 10**9)
    sink.knows = lambda tid: True
    tell("1 1700000010.000000 clone(child_stack=NULL, flags=SIGCHLD) = 2")
    assert not sink.unmap.called
    tell("1 1700000010.000000 clone(child_stack=NULL, flags=SIGCHLD) = 3")
    assert sink.unmap.call_args.args[1:] == (3, 2, 1)
