"""System calls by strace, where tracefs is closed to us: each call of the process waits for strace, about 0.1 ms."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import Any

from ksmbench.capture.procfs import tracer
from ksmbench.errors import KsmbenchError
from ksmbench.syscalls.sink import Sink
from ksmbench.syscalls.strace import StraceLog, parse_line

_ATTACH_S = 10.0
_PATIENCE_S = 2.0  # with a strace that is to end
_EARLY_NS = 10 * 10**9  # for which lines of a thread wait for the one that tells of its beginning
_MOST_LINES = 1_000_000  # that wait to be told; what comes then is lost
_MOST_SAID = 4096  # characters of what strace says that are kept
_CALLS = "madvise,process_madvise,mmap,munmap,mremap,brk,prctl,fork,vfork,clone,clone3,execve,execveat,exit,exit_group"

_REFUSED = re.compile(r"attach: ptrace\(.*\): (?!No such process)")  # of a thread that is there


class StraceClosedError(KsmbenchError):
    """strace cannot attach to a process; the text says why."""


class Straced:
    """Attaches to the processes given; what they start is followed, too."""

    name = "strace"
    is_debugger = True

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: list[int] = []
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._n_lost = 0
        self._said = ""
        self._readers: list[threading.Thread] = []
        self._log: StraceLog | None = None
        # strace tells the time of day.
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    @staticmethod
    def why_not() -> str | None:
        """Return why strace is no way here, or None."""
        return None if shutil.which("strace") else "strace is not installed"

    def follow(self, tids: Iterable[int]) -> None:
        """Attach to these threads; those that come later are strace's matter."""
        if self._process is None:
            self._pids += tids

    def begin(self) -> None:
        """Nothing can be told before strace is attached."""

    def attach(self) -> None:
        """Attach, and return once strace has them; raises `StraceClosedError`."""
        read, write = os.pipe()
        words = ["strace", "-q", "-f", "-ttt", "-y", "-s", "0", "-e", f"trace={_CALLS}", "-e", "signal=none"]
        words += ["-o", f"/dev/fd/{write}"]
        for pid in self._pids:
            words += ["-p", str(pid)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=[write], start_new_session=True
        )
        os.close(write)
        assert self._process.stderr is not None
        # Both are read to their ends: a strace that cannot write stands still, and all whom it holds.
        for read_all, file in ((self._read_lines, read), (self._read_said, os.dup(self._process.stderr.fileno()))):
            self._readers.append(threading.Thread(target=read_all, args=(file,), name="strace", daemon=True))
            self._readers[-1].start()
        self._process.stderr.close()
        self._wait_attached()

    def _wait_attached(self) -> None:
        # A process that strace holds says so itself. One that strace cannot have it leaves out, and says so.
        assert self._process is not None
        deadline = time.monotonic() + _ATTACH_S
        left = list(self._pids)
        while left:
            ended = self._process.poll() is not None
            if ended:
                self._readers[-1].join(_PATIENCE_S)
            said = [line for line in self._said.splitlines() if ended or _REFUSED.search(line)]
            if said or ended or time.monotonic() > deadline:
                raise StraceClosedError(f"strace cannot attach ({said[0] if said else f'to process {left[0]}'})")
            left = [pid for pid in left if tracer(pid) not in (self._process.pid, -1)]
            time.sleep(0.005)

    def _read_lines(self, file: int) -> None:
        with os.fdopen(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with self._lock:
                    if len(self._lines) < _MOST_LINES:
                        self._lines.append(line)
                    else:
                        self._n_lost += 1

    def _read_said(self, file: int) -> None:
        with os.fdopen(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if len(self._said) < _MOST_SAID:
                    self._said += line

    def tell(self, sink: Sink) -> None:
        """Tell the sink what strace wrote since the last time."""
        with self._lock:
            lines, self._lines = self._lines, []
        if self._log is None:
            self._log = StraceLog(sink)
        for text in lines:
            if line := parse_line(text):
                self._log.line((line[0] - self._offset_ns, line[1], line[2]))
        self._log.forget_early(time.monotonic_ns() - _EARLY_NS)

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"lost": self._n_lost, "not_understood": self._log.n_unread if self._log is not None else 0}

    def close(self) -> None:
        """Detach. A strace that does not end soon is killed, which detaches it too."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(_PATIENCE_S)
        self._process = None
