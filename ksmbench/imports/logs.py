"""Logs of system calls, of which others made the text. Contents are in none."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ksmbench.imports.dump import open_file, refuse
from ksmbench.imports.ftrace import FtraceText
from ksmbench.imports.perf import PerfText
from ksmbench.imports.strace import StraceText
from ksmbench.syscalls.calls import Calls
from ksmbench.syscalls.sink import Sink

NOTES = (
    "a log of system calls tells mappings, forks and advice, but no contents: no page is present but those that a call "
    "fills, and what execve maps by itself (the program, its stack) is missing",
)
_EVENTS = "syscalls:sys_*_m*,syscalls:sys_*_brk,syscalls:sys_*_prctl,task:task_newtask,sched:sched_process_*"
_LONGEST_LINE = 1 << 20


class _Reads(Protocol):
    def line(self, text: str) -> None: ...

    def end(self) -> list[str]: ...


LOGS: dict[str, Callable[[Sink], _Reads]] = {"strace": StraceText, "perf": PerfText, "ftrace": FtraceText}
_MADE_BY = {
    "strace": "strace -f -ttt -y -e trace=%memory,%process,prctl -o FILE",
    "perf": f"perf record -e '{_EVENTS}' and perf script > FILE",
    "ftrace": f"recording the events '{_EVENTS}' in a tracefs instance and copying its file trace",
}


def feed_log(name: str, path: Path, sink: Sink) -> list[str]:
    """Tell the sink the calls of a log; returns what is to be known about it. Raises `UsageError`."""
    reads = LOGS[name](sink)
    try:
        with os.fdopen(open_file(path), encoding="utf-8", errors="replace") as file:
            while text := file.readline(_LONGEST_LINE):
                reads.line(text.rstrip("\n"))
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror})")
    return [f"{path.name}: {note}" for note in reads.end()]


def refuse_empty(name: str, path: Path) -> NoReturn:
    """Raise the sentence about a file in which nothing was found."""
    refuse(path, f"has no system calls about memory with times, as {name} writes them; make it by {_MADE_BY[name]}")


def read_log(name: str, path: Path) -> tuple[Calls, list[str], dict[str, Any]]:
    """The calls in the log, what is to be known about it, and facts for the manifest; raises `UsageError`."""
    calls = Calls()
    notes = feed_log(name, path, calls)
    begins_ns = calls.begins_ns()
    if begins_ns is None:
        refuse_empty(name, path)
    return calls, [*NOTES, *notes], {"begins_ns": begins_ns}
