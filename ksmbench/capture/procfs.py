"""What /proc says of a process: its mappings with their flags, its name, whether it runs."""

import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ksmbench.errors import KsmbenchError
from ksmbench.trace.schema import Mapping as MappingKind

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")

# VmFlags of smaps that a trace carries, with the advice that sets and the one that clears each.
FLAG_ADVICE = {"mg": (12, 13), "hg": (14, 15), "nh": (15, 14), "dc": (10, 11), "wf": (18, 19)}

_KSM_RUN = Path("/sys/kernel/mm/ksm/run")
_PF_KTHREAD = 0x00200000  # among the flags in /proc/PID/stat
_KERNELS_OWN = ("[vdso]", "[vvar", "[vsyscall]", "[uprobes]")
# VmFlags of memory that KSM never takes: shared, of a device, of huge pages of its own kind, or to be dropped.
_NEVER_MERGED = {"sh", "ms", "io", "pf", "mm", "de", "ht", "dp"}
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ (\d+) *(.*)")


@dataclass(frozen=True)
class Mapping:
    """One mapping: pages [start, end), the flags out of `FLAG_ADVICE` that it has, what it is, its value in a trace."""

    start: int
    end: int
    flags: frozenset[str]
    name: str
    executable: bool = False
    kind: MappingKind = MappingKind.ANONYMOUS
    writable: bool = field(default=True, compare=False)

    def goes_on_as(self, later: "Mapping") -> bool:
        """Whether the other may be this one, seen later: advice and protection may change, what it is does not."""
        return self.kind == later.kind and (self.name == later.name or (self._is_unnamed and later._is_unnamed))

    @property
    def _is_unnamed(self) -> bool:
        # Or only called something by the process itself, which it may do at any time.
        return self.kind == MappingKind.ANONYMOUS and (not self.name or self.name.startswith("anon:"))


class ProcessGoneError(Exception):
    """The process ended while it was looked at."""


class DeniedError(KsmbenchError):
    """A process may not be looked at: another user's, or one that executed what nobody but its owner may look into."""


def denied(pid: int) -> DeniedError:
    """Return the error for a process whose memory may not be read."""
    try:
        is_own = os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        is_own = False
    needs = "CAP_SYS_PTRACE"
    if is_own:  # and not dumpable, or no descendant of ours under yama
        needs += ", or kernel.yama.ptrace_scope=0 where that is what forbids it"
    whose = "your own" if is_own else "another user's"
    return DeniedError(f"the memory of process {pid}, {whose}, may not be read; run this as root, or with {needs}")


def read_text(pid: int, name: str) -> str:
    """Return the text of /proc/PID/NAME; raises `ProcessGoneError` or `DeniedError`."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessGoneError from None
    except PermissionError:
        raise denied(pid) from None


@lru_cache(maxsize=1 << 16)
def _mapping(header: str, flag_words: str) -> Mapping | None:
    # The mapping of a header line of smaps and its flags; from look to look most are the same.
    flags = frozenset(flag_words.split())
    match = _HEADER.match(header)
    if match is None:
        return None
    start, end, permissions, inode, name = match.groups()
    kind = MappingKind.ANONYMOUS
    # Some mappings in brackets are the kernel's own; an inode belongs to a file.
    if permissions[3] != "p" or name.startswith(_KERNELS_OWN) or flags & _NEVER_MERGED:
        kind = MappingKind.NEVER
    elif inode != "0":
        kind = MappingKind.FILE
    pages = int(start, 16) // PAGE_SIZE, int(end, 16) // PAGE_SIZE
    executable, writable = permissions[2] == "x", permissions[1] == "w"
    return Mapping(*pages, flags & FLAG_ADVICE.keys(), name.strip("[]"), executable, kind, writable)


def parse_smaps(text: str) -> list[Mapping]:
    """Return the mappings in the text of an smaps file, by address."""
    # Each mapping is a header, some twenty lines that are not needed here, and its flags last.
    first, *blocks = text.split("\nVmFlags:")  # at a line's beginning: a mapping may be named so too
    header = first.partition("\n")[0]
    result = []
    for block in blocks:
        flags, _, rest = block.partition("\n")
        if mapping := _mapping(header, flags):
            result.append(mapping)
        header = rest.partition("\n")[0]
    return result


def names_of_mappings(pid: int) -> list[tuple[int, int, str]]:
    """Return first page, page after the last and name of what is mapped that has a name; nothing where it is gone."""
    try:
        headers = [_HEADER.match(line) for line in read_text(pid, "maps").splitlines()]
    except (ProcessGoneError, KsmbenchError):
        return []
    return [(int(m[1], 16) // PAGE_SIZE, int(m[2], 16) // PAGE_SIZE, m[5].strip("[]")) for m in headers if m and m[5]]


def command_line(pid: int) -> list[str]:
    """Return the words of the command line, none for a kernel thread."""
    return read_text(pid, "cmdline").split("\0")[:-1]


def command_name(pid: int) -> str:
    """Return the short name of the command."""
    return read_text(pid, "comm").strip()


def stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on (the state), which follow the name."""
    return read_text(pid, "stat").rpartition(")")[2].split()


def start_time(pid: int) -> int:
    """Return when the process began, in clock ticks since boot."""
    return int(stat_fields(pid)[19])


def is_kernel_thread(pid: int) -> bool:
    """Return whether this is a thread of the kernel."""
    return bool(int(stat_fields(pid)[6]) & _PF_KTHREAD)


def program_identity(pid: int) -> tuple[str, ...]:
    """Return what changes when the process executes another program: where its code and stack begin.

    Raises `ProcessGoneError` where it has no memory any more, which comes before its end.
    """
    fields = stat_fields(pid)
    if fields[23] == "0":
        raise ProcessGoneError
    return fields[23], fields[24], fields[25]


def merges_any(pid: int) -> bool:
    """Return whether PR_SET_MEMORY_MERGE is set, as far as this kernel tells (6.16 and later)."""
    try:
        return "ksm_merge_any: yes" in read_text(pid, "ksm_stat")
    except (ProcessGoneError, KsmbenchError):
        return False


def may_merge(pid: int) -> bool:
    """Return whether KSM has pages of this process, or may take some now; True where the kernel does not tell."""
    try:
        if _KSM_RUN.read_text().strip() == "1":
            return True
        return int(read_text(pid, "ksm_merging_pages")) > 0
    except (OSError, ValueError, ProcessGoneError, KsmbenchError):
        return True


def threads_of(pid: int) -> list[int]:
    """Return the ids of a process's threads, by id; none where it is gone."""
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return []


def thread_states(pid: int) -> list[str]:
    """Return the state letter of every thread; raises `ProcessGoneError`."""
    threads = threads_of(pid)
    if not threads:
        raise ProcessGoneError
    states = []
    for thread in threads:
        try:
            states.append(read_text(pid, f"task/{thread}/stat").rpartition(")")[2].split()[0])
        except ProcessGoneError:
            continue  # a thread may end at any time
    return states


def tracer(pid: int) -> int:
    """Return the id of the process that holds this one by ptrace; 0 where none does, -1 where it is gone."""
    try:
        lines = read_text(pid, "status").splitlines()
    except (ProcessGoneError, KsmbenchError):
        return -1
    return next((int(line.split()[1]) for line in lines if line.startswith("TracerPid:")), 0)


def all_pids() -> list[int]:
    """Return the ids of every process that is visible here."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
