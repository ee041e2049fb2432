"""Which processes a capture records, and which of their mappings."""

from collections.abc import Sequence
from dataclasses import dataclass

from ksmbench.capture.guests import guest_memory, is_guest, is_helper, name_of_guest
from ksmbench.capture.procfs import (
    Mapping,
    ProcessGoneError,
    all_pids,
    command_name,
    is_kernel_thread,
    may_merge,
    parse_smaps,
    read_text,
    start_time,
    stat_fields,
)
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.trace.schema import Mapping as MappingKind

_PPID = 1  # among `stat_fields`


@dataclass(frozen=True)
class Source:
    """A process to record.

    `selection` is "mergeable", "anonymous" (of a VM only the guest's memory) or "all". With `follow`, its children
    are recorded too, and what it executes decides anew what it is.
    """

    pid: int
    name: str
    kind: str  # "vm" or "process", as in spaces.parquet
    follow: bool = False
    selection: str = "anonymous"

    @property
    def narrow(self) -> bool:
        """Whether only a look at all of its mappings tells which of them are recorded."""
        return self.selection == "mergeable" or (self.selection == "anonymous" and self.kind == "vm")

    def mappings(self) -> list[Mapping]:
        """Return the mappings that are recorded, by address; raises `ProcessGoneError` or `KsmbenchError`."""
        return self.select(parse_smaps(read_text(self.pid, "smaps")))

    def select(self, mappings: list[Mapping]) -> list[Mapping]:
        """Return those of the process's mappings that are recorded."""
        if self.selection == "all":
            return mappings
        if self.selection == "mergeable":  # PR_SET_MEMORY_MERGE puts the flag on every mapping that can have it
            return [m for m in mappings if "mg" in m.flags and m.kind != MappingKind.NEVER]
        if self.kind == "vm":
            return guest_memory(mappings)
        return [m for m in mappings if m.kind != MappingKind.NEVER]


def never_shared(source: Source, mappings: list[Mapping]) -> list[Mapping]:
    """Return those whose pages neither a fork nor KSM can make shared now: guest memory that KSM leaves alone."""
    if source.kind != "vm":
        return []
    found = [m for m in mappings if "dc" in m.flags or m.name == "ram"]
    if any("mg" in m.flags for m in found) and may_merge(source.pid):
        found = [m for m in found if "mg" not in m.flags]
    return found


def find_guests(names: Sequence[str] = (), *, follow: bool = False, selection: str = "anonymous") -> list[Source]:
    """Return the running guests, all of them or those with these names, in the order in which they were started.

    Guests are those of QEMU, Cloud Hypervisor, Firecracker and crosvm, and whoever holds a virtual machine of KVM's.
    Raises `KsmbenchError` where there is none, `UsageError` where one of the names is not running, or not one guest's.
    """
    found = {}
    for pid in all_pids():
        try:
            if is_guest(pid):
                source = Source(pid, name_of_guest(pid), "vm", follow, selection)
                found[pid] = (start_time(pid), int(stat_fields(pid)[_PPID]), source)
        except (ProcessGoneError, KsmbenchError):
            continue
    with_parents = sorted(found.values(), key=lambda of: (of[0], of[2].pid))
    guests = [source for _, parent, source in with_parents if parent not in found or not is_helper(source.pid, parent)]
    running = ", ".join(guest.name for guest in guests)
    for name in names:
        if name not in {guest.name for guest in guests}:
            raise UsageError(f"no guest named {name} is running; running are: {running or 'none'}")
        pids = [str(guest.pid) for guest in guests if guest.name == name]
        if len(pids) > 1:
            raise UsageError(
                f"{len(pids)} guests are named {name}, processes {', '.join(pids)}; take one by --pid, or all guests "
                "by --qemu without a name"
            )
    if not guests:
        raise KsmbenchError("no QEMU or other guest is running here; start one, or name a process with --pid")
    return [guest for guest in guests if not names or guest.name in names]


def find_followed(pid: int, selection: str = "anonymous") -> Source:
    """Return a process that descends from a followed one: a guest where it runs one; raises `ProcessGoneError`."""
    if is_guest(pid):
        return Source(pid, name_of_guest(pid), "vm", True, selection)
    return Source(pid, command_name(pid), "process", True, selection)


def find_processes(pids: Sequence[int], *, follow: bool = False, selection: str = "anonymous") -> list[Source]:
    """Return the processes with these ids; raises `KsmbenchError` where one does not exist or has no memory."""
    result = []
    for pid in dict.fromkeys(pids):
        try:
            name = command_name(pid)
            if is_kernel_thread(pid):
                raise UsageError(f"process {pid} ({name}) is a kernel thread, which has no memory of its own")
            result.append(Source(pid, name, "process", follow, selection))
        except ProcessGoneError:
            raise UsageError(f"there is no process {pid}; ps lists those that run") from None
    return result
