"""A command that is started for a capture, and ended with it."""

import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ksmbench.capture.procfs import tracer
from ksmbench.capture.sources import Source, find_processes
from ksmbench.errors import UsageError

_GRACE_S = 10.0
_TRACEME, _DETACH = 0, 17  # of ptrace

_libc = ctypes.CDLL(None, use_errno=True)


def _ask_to_be_held(limits: tuple[int, int]) -> None:
    # Runs between fork and exec. Where it is not allowed, the command begins at once.
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    _libc.ptrace(_TRACEME, 0, None, None)


class Started:
    """Starts the command when called; it has the terminal, as under `time` or `perf record`.

    It stands before its first instruction until `go`, as a debugger has it: what it does is recorded from there on.
    """

    def __init__(self, words: Sequence[str], follow: bool, selection: str) -> None:
        if not words:
            raise UsageError("-- is followed by no command to start and record")
        self._words = list(words)
        self._follow = follow
        self._selection = selection
        self._process: subprocess.Popen[bytes] | None = None
        self._is_held = False
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)  # of open files: its own, not the capture's

    def __call__(self) -> Source:
        """Start it and return the process; raises `UsageError` for what cannot be started."""
        try:
            self._process = subprocess.Popen(self._words, preexec_fn=partial(_ask_to_be_held, self._limits))
        except OSError as error:
            raise UsageError(f"{self._words[0]} cannot be started: {error.strerror}") from None
        pid = self._process.pid
        if tracer(pid) == os.getpid():
            self._is_held = os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        [source] = find_processes([pid], follow=self._follow, selection=self._selection)
        return replace(source, name=os.path.basename(self._words[0])[:15])  # the kernel names it a moment later

    def go(self) -> None:
        """Let it begin."""
        if self._process is None or not self._is_held:
            return
        self._is_held = False
        if tracer(self._process.pid) == os.getpid():
            _libc.ptrace(_DETACH, self._process.pid, None, None)
        else:
            os.kill(self._process.pid, signal.SIGCONT)

    def leave_to_another(self) -> None:
        """Have it stand still without us, so that another debugger can attach before `go`."""
        if self._process is not None and self._is_held:
            _libc.ptrace(_DETACH, self._process.pid, None, ctypes.c_void_p(signal.SIGSTOP))

    def end(self) -> None:
        """Terminate it where it still runs; it gets some seconds to end in its own way. Its children are its matter."""
        if self._process is None or self._process.poll() is not None:
            return
        if self._is_held:  # it has not begun, and stands still
            self._process.kill()
        self._process.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
