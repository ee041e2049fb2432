"""Sole use of the host's KSM: a lock file that holds the settings found, for as long as a session has changed them.

A session that is killed cannot put them back. Whoever gets the lock next finds them in the file and does it instead.
"""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

LOCK = Path("/run/lock/ksmbench.lock")


def take_lock(waits: Callable[[], None] | None = None) -> IO[str]:
    """The lock file, locked; closing it gives the lock back.

    Waits for sessions that are under way; `waits` is called before.
    """
    LOCK.parent.mkdir(exist_ok=True)
    file = LOCK.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waits is not None:
            waits()
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def is_taken() -> bool:
    """Whether a session is under way, or one that was killed left settings behind."""
    try:
        with LOCK.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return bool(recorded(file))
    except BlockingIOError:
        return True
    except OSError:
        return False


def recorded(file: IO[str]) -> dict[str, str]:
    """The settings that a killed session left in the lock file; empty after an orderly end.

    A record that was not written whole counts as none: its session had not changed anything yet.
    """
    file.seek(0)
    try:
        record = json.loads(file.read())
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in record.items()} if isinstance(record, dict) else {}


def record(file: IO[str], settings: dict[str, str]) -> None:
    """Write the settings found into the lock file, before the first of them is changed."""
    erase(file)
    file.write(json.dumps(settings))
    file.flush()
    os.fsync(file.fileno())


def erase(file: IO[str]) -> None:
    """Empty the lock file: every setting is what it was."""
    file.seek(0)
    file.truncate()
