"""Stopping a process while it is read, and letting it go on whatever happens to us.

A child process of ours knows whom we stopped. When we end, also by SIGKILL, the pipe between us closes and it lets
them go on; when we take much longer than allowed, it does so too.
"""

import os
import signal
import subprocess
import sys
import time

from ksmbench.capture.procfs import ProcessGoneError, stat_fields, thread_states

# Reads lines "stop PID" and "go PID"; a process id is turned into a descriptor at once, so it cannot come to mean
# another process.
_WATCHDOG = """
import os, select, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
stopped = {}
def let_go(pid):
    handle = stopped.pop(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGCONT)
    except OSError:
        pass
    os.close(handle)
rest = b""
while True:
    ready, _, _ = select.select([0], [], [], float(sys.argv[1]) if stopped else None)
    data = os.read(0, 4096) if ready else b""
    if not data:
        for pid in list(stopped):
            let_go(pid)
        if ready:
            break
    *lines, rest = (rest + data).split(b"\\n")
    for line in lines:
        verb, pid = line.split()
        if verb == b"stop":
            try:
                stopped[pid] = os.pidfd_open(int(pid))
            except OSError:
                pass
            os.write(1, b".")
        elif pid in stopped:
            os.close(stopped.pop(pid))
"""
_STOPPED = {"T", "t", "Z", "X"}


class Stopper:
    """Stops processes for at most `budget_s` seconds at a time; a budget of 0 never stops one.

    `n_stops` counts the stops, `n_overrun` those that ended before the reading did because the budget was spent,
    `longest_s` is the longest of them.
    """

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self.n_stops = 0
        self.n_overrun = 0
        self.longest_s = 0.0
        self._pid = -1
        self._handle = -1
        self._since = 0.0
        self._watchdog: subprocess.Popen[bytes] | None = None
        if budget_s > 0:
            # A session of its own: a terminal's Ctrl-C does not reach it.
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCHDOG, str(budget_s + 1.0)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )

    def stop(self, pid: int) -> None:
        """Stop the process, until all its threads stand still or the budget is spent; raises `ProcessGoneError`."""
        if self._watchdog is None or stat_fields(pid)[0] in _STOPPED:
            return  # one that its owner stopped stays as it is
        assert self._watchdog.stdin is not None
        assert self._watchdog.stdout is not None
        try:
            self._handle = os.pidfd_open(pid)
        except OSError:
            raise ProcessGoneError from None
        self._watchdog.stdin.write(b"stop %d\n" % pid)
        self._watchdog.stdout.read(1)  # from here on the watchdog lets it go if we cannot
        self._pid, self._since = pid, time.monotonic()
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGSTOP)
            while not set(thread_states(pid)) <= _STOPPED:
                if not self.in_time():
                    return
                time.sleep(0.0001)
        except ProcessLookupError:
            self.go()
            raise ProcessGoneError from None
        except BaseException:
            self.go()
            raise

    def in_time(self) -> bool:
        """Let the process go on if the budget is spent; returns whether it still stands still."""
        if self._pid >= 0 and time.monotonic() - self._since > self.budget_s:
            self.n_overrun += 1
            self.go()
        return self._pid >= 0

    def go(self) -> None:
        """Let the process that is stopped, if any, go on."""
        if self._pid < 0:
            return
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGCONT)
        except ProcessLookupError:
            pass
        self.n_stops += 1
        self.longest_s = max(self.longest_s, time.monotonic() - self._since)
        os.close(self._handle)
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.write(b"go %d\n" % self._pid)
        self._pid = self._handle = -1

    def close(self) -> None:
        """Let everything go on and end the watchdog."""
        self.go()
        if self._watchdog is not None:
            self._watchdog.communicate()
            self._watchdog = None
