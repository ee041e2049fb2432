"""System calls by strace, where tracefs is closed to us: each call of the process waits for strace, about 0.1 ms."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ksmbench.capture.procfs import tracer
from ksmbench.errors import KsmbenchError
from ksmbench.syscalls.sink import Sink
from ksmbench.syscalls.strace import StraceLog, parse_line

_ATTACH_S = 10.0
_CALLS = "madvise,process_madvise,mmap,munmap,mremap,brk,prctl,fork,vfork,clone,clone3,execve,execveat,exit,exit_group"


class Straced:
    """Attaches to the processes given; what they start is followed, too."""

    name = "strace"
    is_debugger = True

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: list[int] = []
        self._lock = threading.Lock()
        self._lines: list[str] = []
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
        """Attach, and return once strace has them; raises `KsmbenchError`."""
        read, write = os.pipe()
        words = ["strace", "-f", "-ttt", "-y", "-s", "0", "-e", f"trace={_CALLS}", "-e", "signal=none"]
        words += ["-o", f"/dev/fd/{write}"]
        for pid in self._pids:
            words += ["-p", str(pid)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=[write], start_new_session=True
        )
        os.close(write)
        threading.Thread(target=self._read_lines, args=(read,), name="strace", daemon=True).start()
        self._wait_attached()

    def _wait_attached(self) -> None:
        # A process that strace holds says so itself.
        assert self._process is not None
        deadline = time.monotonic() + _ATTACH_S
        left = list(self._pids)
        while left and time.monotonic() < deadline:
            if self._process.poll() is not None:
                said = self._process.stderr.read().decode("utf-8", "replace").strip() if self._process.stderr else ""
                raise KsmbenchError(f"strace cannot attach ({said.splitlines()[0] if said else 'it ended'})")
            left = [pid for pid in left if tracer(pid) not in (self._process.pid, -1)]
            time.sleep(0.005)

    def _read_lines(self, file: int) -> None:
        with os.fdopen(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with self._lock:
                    self._lines.append(line)

    def tell(self, sink: Sink) -> None:
        """Tell the sink what strace wrote since the last time."""
        with self._lock:
            lines, self._lines = self._lines, []
        if self._log is None:
            self._log = StraceLog(sink)
        for text in lines:
            if line := parse_line(text):
                self._log.line((line[0] - self._offset_ns, line[1], line[2]))

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"not_understood": self._log.n_unread if self._log is not None else 0}

    def close(self) -> None:
        """Detach."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_ATTACH_S)
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process = None
