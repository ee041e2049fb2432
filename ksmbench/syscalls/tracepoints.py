"""The kernel's tracepoints as system calls: `sys_enter_*` with its `sys_exit_*`, new tasks, programs, ends."""

from collections.abc import Callable, Mapping

from ksmbench.syscalls.sink import PAGE_BYTES, Sink
from ksmbench.trace.schema import PAGE_LIMIT
from ksmbench.trace.schema import Mapping as Kind

Value = int | str
Fields = Mapping[str, Value]
# Whom a process_madvise is about: from (tid, pidfd, address of the list, its length) to the process and its ranges of
# (address, bytes); None where that cannot be told.
Resolve = Callable[[int, int, int, int], tuple[int, list[tuple[int, int]]] | None]

# From linux/mman.h, linux/sched.h, linux/prctl.h.
_SHARED, _ANONYMOUS, _POPULATE, _LOCKED, _HUGETLB = 0x01, 0x20, 0x8000, 0x2000, 0x40000
_WRITABLE = 2
_DONTUNMAP = 4
_POPULATE_READ, _POPULATE_WRITE = 22, 23
_CLONE_VM, _CLONE_THREAD = 0x100, 0x10000
_MERGE_ANY = 67
_ERRORS = 4095  # results from -4095 to -1 are errors
_WORD = 1 << 64


def _pages(address: int, length: int) -> tuple[int, int]:
    page, n = address // PAGE_BYTES, -(-length // PAGE_BYTES)
    if not 0 <= page < PAGE_LIMIT or not 0 < n <= PAGE_LIMIT - page:
        raise ValueError("no range of an address space")
    return page, n


class Tracepoints:
    """Decodes events in the order of their times, and tells `sink` the calls that succeeded, as of their ends.

    Before a call of a thread that the sink does not know, `begins` is told its number, which makes it the sink's root
    where nothing else is given. `n_unread` counts what could not be understood, `n_unresolved` the calls of
    process_madvise of which nobody said whom they were about, `n_guessed` the tasks of which no event told whether they
    are threads: they count as forks.
    """

    def __init__(self, sink: Sink, resolve: Resolve | None = None, begins: Callable[[int], None] | None = None) -> None:
        self.n_unread = 0
        self.n_unresolved = 0
        self.n_guessed = 0
        self._sink = sink
        self._resolve = resolve
        self._begins = begins or sink.root
        self._begun: dict[int, tuple[str, Fields]] = {}  # of each thread
        self._told_tasks = False  # then sched_process_fork tells nothing new
        self._calls: dict[str, Callable[[int, int, Fields, int], None]] = {
            "mmap": self._mmap,
            "munmap": self._munmap,
            "mremap": self._mremap,
            "brk": self._brk,
            "madvise": self._madvise,
            "process_madvise": self._process_madvise,
            "prctl": self._prctl,
        }

    def event(self, time_ns: int, tid: int, name: str, fields: Fields) -> None:
        """Take an event of this thread; `name` and fields as in tracefs, numbers as int."""
        try:
            self._event(time_ns, tid, name, fields)
        except (KeyError, ValueError, TypeError):
            self.n_unread += 1

    def _event(self, time: int, tid: int, name: str, fields: Fields) -> None:
        if name.startswith("sys_enter_"):
            if name != "sys_enter_prctl" or _number(fields, "option") == _MERGE_ANY:
                self._begun[tid] = (name.removeprefix("sys_enter_"), fields)
        elif name.startswith("sys_exit_"):
            self._ended(time, tid, name.removeprefix("sys_exit_"), _number(fields, "ret"))
        elif name == "task_newtask":
            self._told_tasks = True
            child, flags = _number(fields, "pid"), _number(fields, "clone_flags")
            self._know(tid)
            self._sink.clone(time, tid, child, shares=bool(flags & _CLONE_VM), is_thread=bool(flags & _CLONE_THREAD))
        elif name == "sched_process_fork" and not self._told_tasks:
            child = _number(fields, "child_pid")
            self.n_guessed += 1
            self._know(tid)
            self._sink.clone(time, tid, child, shares=False, is_thread=False)
        elif name == "sched_process_exec":
            self._executed(time, tid, fields)
        elif name == "sched_process_exit":
            self._begun.pop(tid, None)
            if self._sink.knows(tid):
                self._sink.exited(time, tid)

    def _know(self, tid: int) -> None:
        if not self._sink.knows(tid):
            self._begins(tid)

    def _executed(self, time: int, tid: int, fields: Fields) -> None:
        # A thread that executes has its process's number from then on; the first thread, which had it, has ended.
        before = _number(fields, "old_pid")
        for thread in (tid, before):
            self._begun.pop(thread, None)
        if not self._sink.knows(tid) and self._sink.knows(before):
            tid = before
        self._know(tid)
        self._sink.execve(time, tid, str(fields["filename"]).rpartition("/")[2])

    def _ended(self, time: int, tid: int, call: str, result: int) -> None:
        name, fields = self._begun.pop(tid, ("", {}))
        if name != call or call not in self._calls:
            return
        if result >= _WORD >> 1:
            result -= _WORD  # printed without its sign
        if not -_ERRORS <= result < 0:
            self._know(tid)
            self._calls[call](time, tid, fields, result % _WORD)

    def _mmap(self, time: int, tid: int, fields: Fields, result: int) -> None:
        flags = _number(fields, "flags")
        kind = Kind.FILE
        if flags & (_SHARED | _HUGETLB):
            kind = Kind.NEVER
        elif flags & _ANONYMOUS:
            kind = Kind.ANONYMOUS
        page, n = _pages(result, _number(fields, "len"))
        prot, fills = _number(fields, "prot"), bool(flags & (_POPULATE | _LOCKED))
        self._sink.map(time, tid, page, n, kind, fills=fills and bool(prot & _WRITABLE))
        if fills and prot and not prot & _WRITABLE and kind == Kind.ANONYMOUS:
            self._sink.fill(time, tid, page, n, writes=False)  # what cannot be written is only read

    def _munmap(self, time: int, tid: int, fields: Fields, result: int) -> None:
        self._sink.unmap(time, tid, *_pages(_number(fields, "addr"), _number(fields, "len")))

    def _mremap(self, time: int, tid: int, fields: Fields, result: int) -> None:
        old, n_new = _number(fields, "addr") // PAGE_BYTES, -(-_number(fields, "new_len") // PAGE_BYTES)
        to, n_new = _pages(result, n_new * PAGE_BYTES)
        n = -(-_number(fields, "old_len") // PAGE_BYTES)
        leaves = bool(_number(fields, "flags") & _DONTUNMAP)
        self._sink.mremap(time, tid, old, n, n_new, to, leaves=leaves)

    def _brk(self, time: int, tid: int, fields: Fields, result: int) -> None:
        self._sink.brk(time, tid, result)

    def _madvise(self, time: int, tid: int, fields: Fields, result: int) -> None:
        self._advise(time, tid, _number(fields, "start"), _number(fields, "len_in"), _number(fields, "behavior"))

    def _advise(self, time: int, tid: int, start: int, length: int, advice: int) -> None:
        if not length:
            return
        page, n = _pages(start, length)
        if advice in (_POPULATE_READ, _POPULATE_WRITE):
            self._sink.fill(time, tid, page, n, writes=advice == _POPULATE_WRITE)
        else:
            self._sink.madvise(time, tid, page, n, advice)

    def _process_madvise(self, time: int, tid: int, fields: Fields, result: int) -> None:
        # The result is the number of bytes that were advised.
        found = None
        if self._resolve is not None:
            vec, vlen = _number(fields, "vec"), _number(fields, "vlen")
            found = self._resolve(tid, _number(fields, "pidfd"), vec, vlen)
        if found is None:
            self.n_unresolved += 1
            return
        target, ranges = found
        for start, length in ranges:
            if result <= 0:
                break
            self._advise(time, target, start, min(length, result), _number(fields, "behavior"))
            result -= length

    def _prctl(self, time: int, tid: int, fields: Fields, result: int) -> None:
        self._sink.merge_any(time, tid, _number(fields, "arg2"))


def _number(fields: Fields, name: str) -> int:
    value = fields[name]
    if isinstance(value, str):
        raise ValueError(f"{name} is no number")
    return value
