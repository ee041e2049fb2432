"""Without privileges one's own processes are recorded, and for others one sentence says what they would need."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.capture.child import needs_root

_NOBODY = 65534
# The interpreter may be where nobody may read: what a capture needs is loaded by a first one, then root is given up.
_SCRIPT = f"""
import codecs, ctypes, os, sys, tempfile
for coding in ("unicode_escape", "latin-1"):
    codecs.lookup(coding)
from ksmbench.commands.capture import capture
from ksmbench.errors import KsmbenchError
with tempfile.TemporaryDirectory() as folder:
    words = ["-o", folder + "/t", "--calls", "none", "--duration", "0.05", "--", "sleep", "5"]
    capture.main(words, standalone_mode=False)
os.setgroups([])
os.setresgid({_NOBODY}, {_NOBODY}, {_NOBODY})
os.setresuid({_NOBODY}, {_NOBODY}, {_NOBODY})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable again: it may look at itself
try:
    capture.main(sys.argv[1:], standalone_mode=False)
except KsmbenchError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def _as_nobody(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", _SCRIPT, *words], capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    # Where nobody may write: below the root's own folders he may not even look.
    place = Path(f"/tmp/ksmbench-test-{os.getpid()}")
    place.mkdir()
    os.chown(place, _NOBODY, _NOBODY)
    yield place
    subprocess.run(["rm", "-r", str(place)], check=True)


@needs_root
def test_ones_own_process_is_recorded(folder: Path) -> None:
    process = subprocess.Popen(["sleep", "1000"], user=_NOBODY, group=_NOBODY, extra_groups=[])
    try:
        done = _as_nobody("--pid", str(process.pid), "-o", str(folder / "t"), "--duration", "0.1")
    finally:
        process.kill()
        process.wait()
    assert done.returncode == 0, done.stderr
    assert "CAP_SYS_ADMIN" in done.stderr
    trace = open_trace(folder / "t")
    assert trace.spaces[0].name == "sleep"
    assert any("needs CAP_SYS_ADMIN" in line for line in trace.manifest["capture"]["not_tracked"])
    assert trace.manifest["capture"]["system_calls"]["source"] != "tracefs"


@needs_root
def test_what_would_need_privileges_is_said_in_one_sentence(folder: Path) -> None:
    process = subprocess.Popen(["sleep", "1000"])
    try:
        done = _as_nobody("--pid", str(process.pid), "-o", str(folder / "t"), "--duration", "0.1")
    finally:
        process.kill()
        process.wait()
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("warning:")]
    assert "another user's" in line
    assert "CAP_SYS_PTRACE" in line
    assert not (folder / "t").exists()


def _wait(done: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@needs_root
@pytest.mark.parametrize("calls", ["none", "auto"])
def test_a_child_that_executes_what_we_may_not_look_at_ends_and_the_capture_goes_on(folder: Path, calls: str) -> None:
    program, asked = folder / "privileged", folder / "asked"
    shutil.copy(shutil.which("sleep") or "", program)
    program.chmod(0o4711)  # as root's, and readable by nobody but root, also where a debugger takes its rights away
    os.mkfifo(asked)
    os.chown(asked, _NOBODY, _NOBODY)
    script = f"(read line < {asked}; exec {program} 1000) & wait"
    parent = subprocess.Popen(["sh", "-c", script], user=_NOBODY, group=_NOBODY, extra_groups=[])
    options = ["--calls", calls, "--interval", "0.05"]
    words = ["--pid", str(parent.pid), "-o", str(folder / "t"), *options]
    capture = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child = 0

    def is_executed() -> bool:
        return Path(f"/proc/{child}/comm").read_text().startswith(program.name)

    def marks() -> int:
        return int(json.loads((folder / "t" / "trace.json").read_text())["capture"]["marks"])

    try:
        _wait((folder / "t" / "trace.json").exists, capture)
        child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text())
        asked.write_text("go\n")
        _wait(is_executed, capture)
        capture.send_signal(signal.SIGUSR1)
        _wait(lambda: marks() == 1, capture)
        capture.send_signal(signal.SIGINT)
        output, error = capture.communicate(timeout=60)
    finally:
        for process in (capture, parent):
            process.kill()
            process.wait()
        if child:
            os.kill(child, signal.SIGKILL)
    assert capture.returncode == 0, error
    assert "may not be looked at, and end there in the trace: 1" in output
    trace = open_trace(folder / "t")
    exits = trace.events.space[trace.events.kind == Kind.EXIT].tolist()
    assert [trace.spaces[space].pid for space in exits] == [child]
    assert trace.manifest["capture"]["processes_not_readable_any_more"] == 1
