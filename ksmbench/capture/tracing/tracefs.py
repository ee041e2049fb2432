"""An instance of tracefs: buffers and events of our own, which nobody else's tracing sees or changes.

Its name says whose it is. One whose owner is gone (kill -9) is removed by the next capture.
"""

import ctypes
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ksmbench.errors import KsmbenchError

BUFFER_KIB = 8 << 10  # of each CPU
_NAME = re.compile(r"ksmbench-(\d+)-(\d+)")
_FIELD = re.compile(r"\tfield:(.*?);\s*offset:(\d+);\s*size:(\d+);\s*signed:([01]);")
# System calls by number; glibc has no functions for them.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CREATE, _CLOEXEC = 6, 1

_libc = ctypes.CDLL(None, use_errno=True)


class TracingClosedError(Exception):
    """tracefs is not there, or not for us; the text says why."""


class Field(NamedTuple):
    """Where a field of an event stands, in bytes from the event's first."""

    name: str
    offset: int
    size: int
    signed: bool
    is_text: bool  # an array of characters
    is_dynamic: bool  # its 32 bits say where the text is: offset below, length above


class Format(NamedTuple):
    """What an event's `format` file says, without the fields that all events have."""

    number: int
    fields: tuple[Field, ...]


def parse_format(text: str) -> Format:
    """Return the number and the fields of an event out of the text of its `format` file."""
    number = re.search(r"^ID: (\d+)$", text, re.M)
    if number is None:
        raise ValueError("no ID in a format file")
    fields = []
    for declaration, offset, size, signed in _FIELD.findall(text):
        words = declaration.replace("*", " ").split()
        name = words[-1].partition("[")[0]
        if not name.startswith("common_"):
            is_dynamic = words[0] == "__data_loc"
            is_text = "char" in declaration and "[" in declaration
            fields.append(Field(name, int(offset), int(size), signed == "1", is_text, is_dynamic))
    return Format(int(number[1]), tuple(fields))


def _mounted() -> Path | None:
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        if kind == "tracefs":
            return Path(place.encode().decode("unicode_escape"))
    return None


def _mount_unseen() -> int:
    # A mount that only this descriptor shows: nothing of the host's tree changes.
    context = _libc.syscall(_FSOPEN, b"tracefs", _CLOEXEC)
    if context < 0:
        raise TracingClosedError(f"tracefs cannot be mounted ({os.strerror(ctypes.get_errno())})")
    try:
        if _libc.syscall(_FSCONFIG, context, _CREATE, None, None, 0) < 0:
            raise TracingClosedError(f"tracefs cannot be mounted ({os.strerror(ctypes.get_errno())})")
        mount = _libc.syscall(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)
    if mount < 0:
        raise TracingClosedError(f"tracefs cannot be mounted ({os.strerror(ctypes.get_errno())})")
    return int(mount)


def _began(pid: int) -> str:
    # When a process began, in the kernel's ticks: with its id, that names it for good.
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""


class Instance:
    """Makes the instance; raises `TracingClosedError` where that is not possible.

    `close` removes it. Events are off until `enable`, and come from the threads given to `follow` and from what they
    start.
    """

    def __init__(self) -> None:
        self._mount = -1
        place = _mounted()
        if place is None or not os.path.isdir(place / "events"):  # also where it is closed to us
            self._mount = _mount_unseen()
            place = Path(f"/proc/self/fd/{self._mount}")
        self._root = place
        self.path = place / "instances" / f"ksmbench-{os.getpid()}-{_began(os.getpid())}"
        try:
            self._remove_orphans()
            self.path.mkdir()
        except OSError as error:
            self._unmount()
            raise TracingClosedError(f"no instance can be made in tracefs ({error.strerror})") from None
        try:
            self.write("tracing_on", "0")
            self.write("trace_clock", "mono")
            self.write("buffer_size_kb", str(BUFFER_KIB))
            self.write("options/event-fork", "1")
            if (self.path / "options" / "overwrite").exists():
                self.write("options/overwrite", "0")  # the calls before those lost are whole
        except OSError as error:
            self.close()
            raise TracingClosedError(f"tracefs does not take our settings ({error.strerror})") from None

    def _remove_orphans(self) -> None:
        for old in (self._root / "instances").iterdir():
            owner = _NAME.fullmatch(old.name)
            if owner and _began(int(owner[1])) != owner[2]:
                try:
                    old.rmdir()
                except OSError:
                    continue  # somebody reads it still

    def _unmount(self) -> None:
        if self._mount >= 0:
            os.close(self._mount)
            self._mount = -1

    def write(self, name: str, value: str) -> None:
        """Store a value into one of its files; raises `OSError`."""
        with open(self.path / name, "w") as file:
            file.write(value)

    def format(self, event: str) -> Format | None:
        """What the kernel says of an event ("syscalls/sys_enter_brk"); None where it has none of that name."""
        try:
            return parse_format((self.path / "events" / event / "format").read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise TracingClosedError(f"tracefs does not show the event {event} ({error})") from None

    def enable(self, event: str, condition: str = "") -> None:
        """Have the event recorded, where a condition is given only if it holds."""
        if condition:
            self.write(f"events/{event}/filter", condition)
        self.write(f"events/{event}/enable", "1")

    def follow(self, tids: Iterable[int]) -> None:
        """Record these threads, too. A thread that is gone is left out."""
        # Each thread told costs the kernel some 30 ms of waiting; children of the followed are there already.
        followed = set((self.path / "set_event_pid").read_text().split())
        file = os.open(self.path / "set_event_pid", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            for tid in (tid for tid in tids if str(tid) not in followed):
                with suppress(ProcessLookupError):
                    os.write(file, f"{tid}\n".encode())
        finally:
            os.close(file)

    def readers(self) -> list[int]:
        """Descriptors of the raw buffers, one per CPU, which do not wait."""
        folders = sorted((self.path / "per_cpu").iterdir())
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        return [os.open(folder / "trace_pipe_raw", flags) for folder in folders]

    def lost(self) -> int:
        """How many events found no place in a buffer so far."""
        total = 0
        for folder in (self.path / "per_cpu").iterdir():
            for line in (folder / "stats").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in ("overrun", "commit overrun", "dropped events"):
                    total += int(value)
        return total

    def close(self) -> None:
        """Remove the instance with all that it holds; its readers must be closed."""
        try:
            self.write("tracing_on", "0")
            self.path.rmdir()
        except OSError as error:
            raise KsmbenchError(f"the tracing instance {self.path.name} cannot be removed ({error.strerror})") from None
        finally:
            self._unmount()
