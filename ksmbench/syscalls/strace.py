"""Lines of strace: mappings, advice, forks and ends of processes.

A call that another thread's line interrupts stands in two lines, "<unfinished ...>" and "<... resumed>"; lines of a
child can come before the one in which its fork returns.
"""

import re
from pathlib import PurePosixPath

from ksmbench.syscalls.sink import PAGE_BYTES, Sink
from ksmbench.trace.schema import PAGE_LIMIT, Mapping

_LINE = re.compile(r"(?:\[pid\s+(\d+)\]\s+|(\d+)\s+)?(\d{9,12})\.(\d{1,9})\s+(.*)")
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (\S+).*", re.S)
_BEGUN = re.compile(r"(\w+)\((.*?),?\s*<(?:unfinished|pid changed to (\d+)) \.\.\.>")
_SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.S)
_MMAP = re.compile(r"(\S+), (\d+), (\S+), (\S+), (-?\d+)(?:<(.*)>)?, (\S+)")
_FORKS = ("fork", "vfork", "clone", "clone3")
_MERGE_ANY = re.compile(r"(?:PR_SET_MEMORY_MERGE|0x43 /\*.*?\*/|67), (\w+)")
_NUMBERS = {
    name: number
    for number, name in enumerate(
        "NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED 5 6 7 FREE REMOVE DONTFORK DOFORK MERGEABLE UNMERGEABLE HUGEPAGE "
        "NOHUGEPAGE DONTDUMP DODUMP WIPEONFORK KEEPONFORK COLD PAGEOUT POPULATE_READ POPULATE_WRITE DONTNEED_LOCKED "
        "COLLAPSE".split()
    )
}
_MOST_EARLY = 10_000  # lines of one thread that wait for its beginning

Line = tuple[int, int, str]  # time in ns, thread, text


def parse_line(text: str) -> Line | None:
    """Return the time, the thread and the rest of a line that has a time (`-ttt`)."""
    found = _LINE.match(text.rstrip("\n"))
    if found is None:
        return None
    time = int(found[3]) * 10**9 + int(found[4].ljust(9, "0"))
    return time, int(found[1] or found[2] or 0), found[5]


def _number(text: str) -> int:
    return 0 if text == "NULL" else int(text, 0)


def _pages(address: str, length: str) -> tuple[int, int]:
    page, n = _number(address) // PAGE_BYTES, -(-_number(length) // PAGE_BYTES)
    if not 0 <= page < PAGE_LIMIT or not 0 < n <= PAGE_LIMIT - page:
        raise ValueError("no range of an address space")
    return page, n


class StraceLog:
    """Takes lines and tells `sink` the calls that succeeded, as of their beginnings; `n_unread` counts odd lines."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._is_empty = True
        self._begun: dict[int, tuple[int, str, str]] = {}  # calls of which the end is to come
        self._early: dict[int, list[Line]] = {}  # lines of threads of which the beginning is to come
        self.n_unread = 0

    def line(self, line: Line) -> None:
        """Take a line, or put it aside until its thread is known."""
        tid = line[1]
        if self._is_empty:
            self._is_empty = False
            self._sink.root(tid)
        if not self._sink.knows(tid):
            if line[2].startswith("+++"):
                self._begun.pop(tid, None)
            elif not line[2].startswith("---"):  # a thread that another's execve ended is known no more
                early = self._early.setdefault(tid, [])
                if len(early) < _MOST_EARLY:
                    early.append(line)
            return
        try:
            self._take(*line)
        except (ValueError, IndexError, KeyError):
            self.n_unread += 1

    def forget_early(self, time_ns: int) -> None:
        """Drop what is aside from before this time: nobody told of the beginning of those threads since then."""
        late = [tid for tid, lines in self._early.items() if lines[0][0] < time_ns]
        for tid in late:
            del self._early[tid]

    def end(self) -> None:
        """What is aside still is of processes that were there before."""
        for tid in list(self._early):
            if not self._sink.knows(tid):
                self._sink.root(tid)
            self._catch_up(tid)

    def _catch_up(self, tid: int) -> None:
        for line in self._early.pop(tid, []):
            self.line(line)

    def _take(self, time: int, tid: int, text: str) -> None:
        if superseded := _SUPERSEDED.fullmatch(text):
            self._take_over(time, int(superseded[1]), tid)
        elif text.startswith("+++"):
            self._begun.pop(tid, None)
            self._sink.exited(time, tid)
        elif begun := _BEGUN.fullmatch(text):
            self._begun[tid] = (time, begun[1], begun[2])
            if begun[3]:
                self._take_over(time, tid, int(begun[3]))
        elif resumed := _RESUMED.match(text):
            start, name, before = self._begun.pop(tid)
            rest = resumed[2]
            if found := _CALL.fullmatch(
                f"{name}({before}{', ' if before and rest[:1] not in ')' else ''}{rest.lstrip()}"
            ):
                self._call(start, tid, found[1], found[2], found[3])
        elif found := _CALL.fullmatch(text):
            self._call(time, tid, found[1], found[2], found[3])

    def _take_over(self, time: int, tid: int, process: int) -> None:
        # A thread that executes goes on under its process's number, also where the first thread has ended.
        if tid in self._begun:
            self._begun[process] = self._begun.pop(tid)
            if not self._sink.knows(process):
                self._sink.clone(time, tid, process, shares=True, is_thread=True)

    def _call(self, time: int, tid: int, name: str, arguments: str, result: str) -> None:
        if result == "?" or result.startswith("-"):
            return
        value = int(result, 0)
        if name in _FORKS:
            shares = name == "vfork" or "CLONE_VM" in arguments
            self._sink.clone(time, tid, value, shares=shares, is_thread="CLONE_THREAD" in arguments)
            self._catch_up(value)
        elif name in ("execve", "execveat"):
            path = re.search(r'"((?:[^"\\]|\\.)*)"', arguments)
            self._sink.execve(time, tid, PurePosixPath(path[1]).name if path else "program")
        elif name == "prctl":
            if asked := _MERGE_ANY.match(arguments):
                self._sink.merge_any(time, tid, _number(asked[1]))
        elif name == "brk":
            self._sink.brk(time, tid, value % (PAGE_LIMIT * PAGE_BYTES))
        elif name == "mmap":
            self._mmap(time, tid, arguments, result)
        elif name == "munmap":
            self._sink.unmap(time, tid, *_pages(*arguments.split(", ")[:2]))
        elif name == "mremap":
            cells = arguments.split(", ")
            page, n = _pages(cells[0], cells[1])
            to, n_new = _pages(result, cells[2])
            self._sink.mremap(time, tid, page, n, n_new, to, leaves="DONTUNMAP" in cells[3])
        elif name == "madvise":
            self._madvise(time, tid, arguments.split(", "))

    def _mmap(self, time: int, tid: int, arguments: str, result: str) -> None:
        found = _MMAP.fullmatch(arguments)
        if found is None:
            raise ValueError("no mmap")
        flags, name = found[4].split("|"), found[6] or ""
        kind = Mapping.FILE
        if "MAP_PRIVATE" not in flags or any(flag.startswith("MAP_HUGETLB") for flag in flags):
            kind = Mapping.NEVER
        elif "MAP_ANONYMOUS" in flags:
            kind = Mapping.ANONYMOUS
        page, n = _pages(result, found[2])
        fills, writable = "MAP_POPULATE" in flags or "MAP_LOCKED" in flags, "PROT_WRITE" in found[3]
        self._sink.map(time, tid, page, n, kind, name, fills=fills and writable)
        if fills and not writable and found[3] != "PROT_NONE" and kind == Mapping.ANONYMOUS:
            self._sink.fill(time, tid, page, n, writes=False)  # what cannot be written is only read

    def _madvise(self, time: int, tid: int, cells: list[str]) -> None:
        page, n = _pages(cells[0], cells[1])
        word = cells[2].removeprefix("MADV_").split()[0]
        advice = _NUMBERS[word] if word in _NUMBERS else int(word, 0)
        if word.startswith("POPULATE"):
            self._sink.fill(time, tid, page, n, writes=word == "POPULATE_WRITE")
        else:
            self._sink.madvise(time, tid, page, n, advice)
