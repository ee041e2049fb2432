"""The log of `strace -f -ttt -e trace=%memory,%process,prctl`. Contents are in no such log."""

import os
from collections.abc import Iterator
from pathlib import Path

from ksmbench.imports.dump import open_file, refuse
from ksmbench.syscalls.calls import Calls
from ksmbench.syscalls.strace import Line, StraceLog, parse_line

NOTES = (
    "a log of system calls tells mappings, forks and advice, but no contents: no page is present but those that a call "
    "fills, and what execve maps by itself (the program, its stack) is missing",
)


def _lines(path: Path) -> Iterator[Line]:
    try:
        with os.fdopen(open_file(path), encoding="utf-8", errors="replace") as file:
            for text in file:
                if line := parse_line(text):
                    yield line
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror})")


def read_strace(path: Path) -> tuple[Calls, list[str]]:
    """The calls in the log, and what is to be known about it; raises `UsageError` where it is none."""
    calls = Calls()
    log = StraceLog(calls)
    for line in _lines(path):
        log.line(line)
    log.end()
    events = calls.events()
    if not len(events.kind):
        refuse(
            path,
            "has no system calls about memory with times; make it by "
            "strace -f -ttt -y -e trace=%memory,%process,prctl -o FILE",
        )
    notes = list(NOTES)
    if log.n_unread:
        notes.append(f"{path.name}: {log.n_unread:,} lines could not be read")
    return calls, notes
