"""kill -9 at any moment, also while a checkpoint is written, leaves a trace that opens and says what it covers."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from ksmbench.trace.store import open_trace
from tests.capture.child import Child, needs_root

_KILLS = 20
# Loads what a capture needs once, then forks for each path that it is given: a capture that is asked to look, and so to
# publish, all the time, until it is killed.
_CAPTURES = """
import os, sys, threading, time
from pathlib import Path
from ksmbench.capture.manifest import Options
from ksmbench.capture.session import Session, _compile
from ksmbench.capture.sources import find_processes
_compile()
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        session = Session(find_processes([int(sys.argv[1])]), Options(Path(line.strip()), 0.02, 60.0, calls="none"))
        def ask():
            while True:
                session.mark()
                time.sleep(0.005)
        threading.Thread(target=ask, daemon=True).start()
        session.run()
        os._exit(1)
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


@needs_root
def test_twenty_kills_leave_twenty_traces(tmp_path: Path) -> None:
    rng = random.Random(20)
    marks = []
    with Child() as child:
        child.do("import random; big = area(2000)")
        words = [sys.executable, "-c", _CAPTURES, str(child.pid)]
        captures = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert captures.stdin is not None
        assert captures.stdout is not None
        for number in range(_KILLS):
            trace = tmp_path / f"t{number}"
            captures.stdin.write(f"{trace}\n")
            captures.stdin.flush()
            pid = int(captures.stdout.readline())
            while not trace.exists():
                time.sleep(0.001)
            end = time.monotonic() + rng.uniform(0.0, 0.4)
            while time.monotonic() < end:
                child.do("big[:] = random.randbytes(len(big))")
            os.kill(pid, signal.SIGKILL)
            assert captures.stdout.readline() == "ended\n"
            opened = open_trace(trace)
            facts = opened.manifest["capture"]
            assert not facts["end"]["complete"]
            assert facts["end"]["time_ns"] >= opened.events.time_ns[-1]
            marks.append(facts["marks"])
        captures.communicate()
    assert len(marks) == _KILLS
    assert any(marks)  # some were in the middle of it
    left = [path.name for path in tmp_path.iterdir() if path.name.endswith(".new")]
    assert len(left) < _KILLS


@needs_root
def test_what_a_kill_left_beside_a_trace_goes_with_the_next_capture(tmp_path: Path) -> None:
    left = tmp_path / f".t.{2**22 + 7}.new"  # of a process that is no more
    left.mkdir()
    (left / "events.parquet").write_bytes(b"half")
    words = [sys.executable, "-m", "ksmbench", "capture", "-o", str(tmp_path / "t"), "--duration", "0.05"]
    subprocess.run([*words, "--", "sleep", "5"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
