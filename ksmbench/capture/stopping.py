"""Stopping a process while it is read, and letting it go on whatever happens to us.

A child process of ours knows whom we stopped. It lets them go on when the time allowed is over, whatever we are doing
then, and when we end, also by SIGKILL: the pipe between us closes.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from ksmbench.capture.procfs import DeniedError, ProcessGoneError, stat_fields, thread_states

# Reads lines "stop PID" (answered by a dot: from then on it watches) and "go PID" (answered by the seconds for which
# the process was stopped at most), one process at a time. A process id is turned into a descriptor at once, so it
# cannot come to mean another process.
_WATCHDOG = """
import os, select, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
try:
    os.nice(-20)  # to be on time on a busy machine
except OSError:
    pass
handle, since, held = -1, 0.0, 0.0
def let_go():
    global handle, held
    try:
        signal.pidfd_send_signal(handle, signal.SIGCONT)
    except OSError:
        pass
    held = time.monotonic() - since
    os.close(handle)
    handle = -1
rest = b""
while True:
    left = max(0.0, since + float(sys.argv[1]) - time.monotonic()) if handle >= 0 else None
    ready, _, _ = select.select([0], [], [], left)
    data = os.read(0, 4096) if ready else b""
    if not data:
        if handle >= 0:
            let_go()
        if ready:
            break
    *lines, rest = (rest + data).split(b"\\n")
    for line in lines:
        verb, pid = line.split()
        if verb == b"stop":
            held, since = 0.0, time.monotonic()
            try:
                handle = os.pidfd_open(int(pid))
            except OSError:
                pass
            os.write(1, b".\\n")
        else:
            if handle >= 0:
                let_go()
            os.write(1, b"%.6f\\n" % held)
"""
_STOPPED = {"T", "t", "Z", "X"}


class Stopper:
    """Stops processes for at most `budget_s` seconds at a time; a budget of 0 never stops one.

    `n_stops` counts the stops, `n_overrun` those that ended before the reading did because the budget was spent,
    `longest_s` is the longest of them as the watchdog measured it; `n_left_out` counts those that were not made since
    somebody had killed the watchdog.
    """

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self.n_stops = 0
        self.n_overrun = 0
        self.n_left_out = 0
        self.longest_s = 0.0
        self._pid = -1
        self._handle = -1
        self._since = 0.0
        self._watchdog: subprocess.Popen[bytes] | None = None
        if budget_s > 0:
            # A session of its own: a terminal's Ctrl-C does not reach it.
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCHDOG, str(budget_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )

    @property
    def pids(self) -> list[int]:
        """The watchdog's process id, if there is one."""
        return [] if self._watchdog is None else [self._watchdog.pid]

    def stop(self, pid: int) -> None:
        """Stop the process, until all its threads stand still or the budget is spent.

        Raises `ProcessGoneError`, and `DeniedError` where it may not be stopped.
        """
        if self._watchdog is None or stat_fields(pid)[0] in _STOPPED:
            return  # one that its owner stopped stays as it is
        try:
            self._handle = os.pidfd_open(pid)
        except OSError:
            raise ProcessGoneError from None
        self._since = time.monotonic()  # before the watchdog's clock: what we hold for stopped is
        if not self._answer(b"stop %d\n" % pid):
            os.close(self._handle)
            self._handle = -1
            self.n_left_out += 1
            return  # nobody would let it go on if we were killed: it is not stopped
        self._pid = pid
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGSTOP)
            while not set(thread_states(pid)) <= _STOPPED:
                if not self.in_time():
                    return
                time.sleep(0.0001)
        except ProcessLookupError:
            self.go()
            raise ProcessGoneError from None
        except PermissionError:
            self.go()
            raise DeniedError(
                f"process {pid} may not be stopped; run this as root, with CAP_KILL, or without --stop"
            ) from None
        except BaseException:
            self.go()
            raise

    def in_time(self) -> bool:
        """Return whether the process still stands still; the watchdog lets it go on when the budget is spent."""
        if self._pid >= 0 and time.monotonic() - self._since >= self.budget_s:
            self.go()
        return self._pid >= 0

    def go(self) -> None:
        """Let the process that is stopped, if any, go on."""
        if self._pid < 0:
            return
        held = time.monotonic() - self._since
        self.n_stops += 1
        self.n_overrun += held >= self.budget_s
        answer = self._answer(b"go %d\n" % self._pid)
        if not answer:
            with suppress(OSError):
                signal.pidfd_send_signal(self._handle, signal.SIGCONT)
        self.longest_s = max(self.longest_s, float(answer or held))
        os.close(self._handle)
        self._pid = self._handle = -1

    def _answer(self, line: bytes) -> bytes:
        # Of the watchdog; nothing where somebody has killed it.
        assert self._watchdog is not None
        assert self._watchdog.stdin is not None
        assert self._watchdog.stdout is not None
        try:
            self._watchdog.stdin.write(line)
            return self._watchdog.stdout.readline()
        except BrokenPipeError:
            return b""

    def close(self) -> None:
        """Let everything go on and end the watchdog."""
        self.go()
        if self._watchdog is not None:
            self._watchdog.communicate()
            self._watchdog = None
