"""Which processes a capture records, and which of their mappings."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ksmbench.capture.procfs import (
    Mapping,
    ProcessGoneError,
    all_pids,
    command_line,
    command_name,
    is_kernel_thread,
    parse_smaps,
    read_text,
    start_time,
)
from ksmbench.errors import KsmbenchError

Select = Callable[[list[Mapping]], list[Mapping]]


@dataclass(frozen=True)
class Source:
    """A process to record; `select` says which of its mappings belong to the trace.

    With `follow`, its children are recorded too, and what it executes decides anew what it is.
    """

    pid: int
    name: str
    kind: str  # "vm" or "process", as in spaces.parquet
    select: Select
    follow: bool = False

    def mappings(self) -> list[Mapping]:
        """Return the mappings that are recorded, by address; raises `ProcessGoneError` or `KsmbenchError`."""
        return self.select(parse_smaps(read_text(self.pid, "smaps")))


def guest_memory(mappings: list[Mapping]) -> list[Mapping]:
    """Return a QEMU guest's RAM and ROM blocks, and whatever else of QEMU's memory is mergeable.

    QEMU advises DONTFORK on every block of guest memory, also where `mem-merge=off` leaves MERGEABLE out. Its buffer
    of translated code has that advice too, but is executable.
    """
    blocks = [m for m in mappings if "mg" in m.flags or ("dc" in m.flags and not m.executable)]
    largest = max((m.end - m.start for m in blocks), default=0)
    result = []
    for m in blocks:
        what = "ram" if m.end - m.start == largest else "rom"
        result.append(Mapping(m.start, m.end, m.flags, what if "dc" in m.flags else m.name, m.executable))
    return result


def all_memory(mappings: list[Mapping]) -> list[Mapping]:
    """Return every private anonymous mapping."""
    return mappings


def guest_name(words: Sequence[str], pid: int) -> str:
    """Return the name in QEMU's command line (`-name web`, `-name guest=web,debug-threads=on`), or one by its id."""
    for option, value in zip(words, words[1:], strict=False):
        if option in ("-name", "--name"):
            for part in value.split(","):
                key, _, name = part.rpartition("=")
                if key in ("", "guest"):
                    return name
    return f"qemu-{pid}"


def _is_qemu(pid: int, words: Sequence[str]) -> bool:
    if not words:
        return False
    try:
        # An upgrade of the package leaves running guests with a program that is "(deleted)".
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
    except OSError:
        program = os.path.basename(words[0])
    return program.startswith("qemu-system-") or program in ("qemu-kvm", "kvm")


def find_guests(names: Sequence[str] = (), *, follow: bool = False) -> list[Source]:
    """Return the running QEMU guests, all of them or those with these names, in the order in which they were started.

    Raises `KsmbenchError` where there is none, or one of the names is not running.
    """
    found = []
    for pid in all_pids():
        try:
            words = command_line(pid)
            if _is_qemu(pid, words):
                found.append((start_time(pid), Source(pid, guest_name(words, pid), "vm", guest_memory, follow)))
        except (ProcessGoneError, KsmbenchError):
            continue
    found.sort(key=lambda pair: (pair[0], pair[1].pid))
    guests = [source for _, source in found]
    running = ", ".join(guest.name for guest in guests)
    for name in names:
        if name not in {guest.name for guest in guests}:
            raise KsmbenchError(f"no QEMU guest named {name} is running; running are: {running or 'none'}")
    if not guests:
        raise KsmbenchError("no QEMU guest is running here; start one, or name a process with --pid")
    return [guest for guest in guests if not names or guest.name in names]


def find_followed(pid: int) -> Source:
    """Return a process that descends from a followed one: a guest where it runs QEMU; raises `ProcessGoneError`."""
    words = command_line(pid)
    if _is_qemu(pid, words):
        return Source(pid, guest_name(words, pid), "vm", guest_memory, follow=True)
    return Source(pid, command_name(pid), "process", all_memory, follow=True)


def find_processes(pids: Sequence[int], *, follow: bool = False) -> list[Source]:
    """Return the processes with these ids; raises `KsmbenchError` where one does not exist or has no memory."""
    result = []
    for pid in dict.fromkeys(pids):
        try:
            name = command_name(pid)
            if is_kernel_thread(pid):
                raise KsmbenchError(f"process {pid} ({name}) is a kernel thread, which has no memory of its own")
            result.append(Source(pid, name, "process", all_memory, follow))
        except ProcessGoneError:
            raise KsmbenchError(f"there is no process {pid}; ps lists those that run") from None
    return result
