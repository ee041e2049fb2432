"""Applies system calls, as they are told, to what a capture knows of each process, and records them at their times.

A look at a process settles what no call tells (writes, what the kernel maps by itself, calls that were lost); a call
that comes while a look goes on leaves its range to the next look (`Watched.disturbed`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ksmbench.capture.changes import Shared
from ksmbench.capture.known import shifted, union
from ksmbench.capture.moves import Move
from ksmbench.capture.pagemap import PRESENT, ZERO
from ksmbench.capture.procfs import FLAG_ADVICE, PAGE_SIZE, Mapping, names_of_mappings
from ksmbench.capture.recorder import Recorder
from ksmbench.capture.watched import Watched
from ksmbench.trace.schema import PAGE_LIMIT, Advice, Kind
from ksmbench.trace.schema import Mapping as MappingKind

_HEAP = "heap"  # as /proc/PID/smaps names it
_DONTNEED_LOCKED = 24
_SETS = {of[0]: flag for flag, of in FLAG_ADVICE.items()}
_UNDOES = {"hg": "nh", "nh": "hg"}  # what else goes where this is set
_CLEARS = {11: "dc", 13: "mg", 19: "wf"}
_MOST_FILLED = 1 << 28  # pages (1 TiB); more than that no call fills


@dataclass(eq=False)
class _Process:
    """Who has the memory, and the threads that live."""

    pid: int
    watched: Watched
    threads: set[int] = field(default_factory=set)


class Applied:
    """Where calls go (`ksmbench.syscalls.sink.Sink`).

    `since_ns` turns the kernel's time of a call into the trace's; `begins` takes in a child (its id, the process that
    it comes from, whether it runs a program of its own) and returns it, None where it is not recorded.

    What is kept is of processes that live: some hundred bytes for each, and for each of its threads. It is forgotten
    with the end of the last thread, or where a look finds the process gone (`forget`: the event of its end was lost).
    """

    def __init__(
        self,
        shared: Shared,
        since_ns: Callable[[int], int],
        begins: Callable[[int, Watched, bool], Watched | None],
    ) -> None:
        self._recorder: Recorder = shared.recorder
        self._since_ns = since_ns
        self._begins = begins
        self._threads: dict[int, _Process] = {}
        self._users: dict[int, list[_Process]] = {}  # of each space: several after vfork
        self._heap_end: dict[int, int] = {}  # of each space, in bytes
        self._names: dict[int, list[tuple[int, int, str]]] = {}  # of each space, as long as calls of one time are told
        self.n_calls = 0

    # Who is who

    def register(self, watched: Watched, tids: list[int]) -> None:
        """Take in a process that is under capture, with its threads."""
        self._join(_Process(watched.source.pid, watched), tids)

    def _join(self, process: _Process, tids: list[int]) -> None:
        users = self._users.setdefault(process.watched.space, [])
        if process not in users:
            users.append(process)
        process.threads.update(tids)
        for tid in tids:
            self._threads[tid] = process

    def forget(self, watched: Watched) -> None:
        """It has ended: nothing of it is known any more."""
        for process in self._users.pop(watched.space, ()):
            for tid in process.threads:
                if self._threads.get(tid) is process:  # not another that has its number since
                    del self._threads[tid]
        self._heap_end.pop(watched.space, None)
        self._names.pop(watched.space, None)

    def knows(self, tid: int) -> bool:
        """Whether the thread's process is recorded."""
        return tid in self._threads

    def root(self, tid: int, name: str = "") -> None:
        """Nobody is taken in unasked."""

    def _at(self, time_ns: int) -> int:
        return max(self._since_ns(time_ns), self._recorder.last_time_ns)

    def _of(self, tid: int) -> Watched | None:
        # Whose memory a call of this thread is about; None where the trace has not begun to tell of it.
        process = self._threads.get(tid)
        if process is None or not process.watched.alive or process.watched.born_ns < 0:
            return None
        self.n_calls += 1
        return process.watched

    # Memory

    def map(
        self, time: int, tid: int, page: int, n: int, kind: MappingKind, name: str = "", *, fills: bool = False
    ) -> None:
        """A mapping begins."""
        watched = self._of(tid)
        if watched is None:
            return
        if watched.source.narrow:  # whether it is guest memory is to be seen
            self._unmap(watched, time, page, n)
            return
        self._map(watched, time, page, n, kind, name)
        if fills and kind == MappingKind.ANONYMOUS:
            self.fill(time, tid, page, n, writes=True)

    def _map(self, watched: Watched, time: int, page: int, n: int, kind: MappingKind, name: str) -> None:
        if kind != MappingKind.ANONYMOUS:
            name = self._name(watched, page) or name
        self._add(watched, time, Kind.MAP, page, n, int(kind), name)
        memory = watched.memory
        flags = frozenset({"mg"}) if memory.merges_any and kind != MappingKind.NEVER else frozenset()
        mapping = Mapping(page, page + n, flags, name, kind=kind)
        if kind != MappingKind.NEVER or watched.source.selection == "all":
            memory.map(mapping)
        else:
            memory.unmap(page, page + n)
            memory.others.append(mapping)
        watched.disturbed.append((page, page + n))

    def _name(self, watched: Watched, page: int) -> str:
        # A call names a descriptor; of what file it is tells the mapping, if it is there still.
        if watched.space not in self._names:
            self._names[watched.space] = names_of_mappings(watched.source.pid) if watched.is_readable else []
        return next((name for start, end, name in self._names[watched.space] if start <= page < end), "")

    def forget_names(self) -> None:
        """What is mapped now has the names that it has now."""
        self._names.clear()

    def _add(self, watched: Watched, time: int, kind: Kind, page: int, n: int, value: int = 0, name: str = "") -> None:
        self._recorder.add(self._at(time), kind, watched.space, page=page, n_pages=n, value=value, name=name)

    def unmap(self, time: int, tid: int, page: int, n: int) -> None:
        """A part of the address space is free."""
        watched = self._of(tid)
        if watched is not None and n > 0:
            self._unmap(watched, time, page, n)

    def _unmap(self, watched: Watched, time: int, page: int, n: int) -> None:
        if not watched.memory.has(page, page + n):
            return  # of a mapping that the trace does not hold
        self._add(watched, time, Kind.UNMAP, page, n)
        watched.memory.unmap(page, page + n)
        watched.disturbed.append((page, page + n))

    def brk(self, time: int, tid: int, end: int) -> None:
        """The heap ends at the address `end` now; what it grows by has no advice."""
        watched = self._of(tid)
        if watched is None or watched.source.narrow:
            return
        before, now = self._heap(watched, end), -(-end // PAGE_SIZE)
        if now > before:
            self._map(watched, time, before, now - before, MappingKind.ANONYMOUS, _HEAP)
        elif now < before:
            self._unmap(watched, time, now, before - now)
        self._heap_end[watched.space] = end

    def _heap(self, watched: Watched, end: int) -> int:
        # The page at which the heap ended before, as far as that is known: by a call, or by what was seen.
        if watched.space in self._heap_end:
            return -(-self._heap_end[watched.space] // PAGE_SIZE)
        seen = [m.end for m in watched.memory.mappings if m.name == _HEAP]
        return max(seen, default=-(-end // PAGE_SIZE))

    def mremap(self, time: int, tid: int, page: int, n: int, n_new: int, to: int, *, leaves: bool) -> None:
        """A mapping is resized, and perhaps moved; one that it `leaves` behind is empty then."""
        watched = self._of(tid)
        if watched is None or not watched.memory.has(page, page + n):
            return
        known = next((m for m in watched.memory.mappings if m.start <= page < m.end), None)
        if n_new < n:
            self._unmap(watched, time, page + n_new, n - n_new)
            n = n_new
        if to != page and n > 0:
            if n_new > n:
                self._clear(watched, time, to + n, n_new - n)
            self._add(watched, time, Kind.MOVE, page, n, to)
            watched.memory.move(Move(page, page + n, to))
            watched.disturbed += [(page, page + n), (to, to + n)]
            if leaves:
                self._grow(watched, time, page, n, known)
        if n_new > n:
            self._grow(watched, time, to + n, n_new - n, known)

    def _clear(self, watched: Watched, time: int, page: int, n: int) -> None:
        self._unmap(watched, time, page, n)

    def _grow(self, watched: Watched, time: int, page: int, n: int, known: Mapping | None) -> None:
        # With the kind and the advice of what it grows from.
        kind = MappingKind.NEVER if known is None else known.kind
        self._map(watched, time, page, n, kind, known.name if known else "")
        flags = known.flags if known else frozenset()
        for flag in sorted(flags - ({"mg"} if watched.memory.merges_any else frozenset())):
            self._add(watched, time, Kind.MADVISE, page, n, FLAG_ADVICE[flag][0])
        self._flag(watched, page, n, lambda _: flags)

    def _flag(self, watched: Watched, page: int, n: int, change: Callable[[frozenset[str]], frozenset[str]]) -> None:
        memory, start, end = watched.memory, page, page + n
        result = []
        for m in memory.mappings:
            low, high = max(m.start, start), min(m.end, end)
            if low >= high:
                result.append(m)
                continue
            result += [replace(m, end=low)] if m.start < low else []
            result.append(replace(m, start=low, end=high, flags=change(m.flags)))
            result += [replace(m, start=high)] if high < m.end else []
        memory.mappings = result
        watched.disturbed.append((start, end))

    def madvise(self, time: int, tid: int, page: int, n: int, advice: int) -> None:
        """Advice, by its number."""
        watched = self._of(tid)
        if watched is None or not watched.memory.has(page, page + n):
            return
        if advice == _DONTNEED_LOCKED:
            advice = int(Advice.DONTNEED)  # is what it does
        self._add(watched, time, Kind.MADVISE, page, n, advice)
        if advice == Advice.DONTNEED:
            watched.memory.drop(page, page + n)
            watched.disturbed.append((page, page + n))
        elif advice in _SETS:
            flag = _SETS[advice]
            self._flag(watched, page, n, lambda flags: (flags - {_UNDOES.get(flag, "")}) | {flag})
        elif advice in _CLEARS:
            self._flag(watched, page, n, lambda flags: flags - {_CLEARS[advice]})

    def fill(self, time: int, tid: int, page: int, n: int, *, writes: bool) -> None:
        """Every page of a range is written with what it holds, or read."""
        watched = self._of(tid)
        if watched is None or n > _MOST_FILLED or not watched.memory.has(page, page + n):
            return
        anonymous = [m for m in watched.memory.mappings if m.kind == MappingKind.ANONYMOUS]
        for start, end in union([(m.start, m.end) for m in shifted(anonymous, page, page + n, 0)]):
            self._add(watched, time, Kind.TOUCH if writes else Kind.READ, start, end - start)
            watched.memory.fill(start, end, PRESENT if writes else ZERO)
            watched.disturbed.append((start, end))

    def merge_any(self, time: int, tid: int, on: int) -> None:
        """PR_SET_MEMORY_MERGE."""
        watched = self._of(tid)
        if watched is not None:
            self._add(watched, time, Kind.PRCTL, 0, 0, int(bool(on)))
            watched.memory.merge_any(bool(on))
            watched.disturbed.append((0, PAGE_LIMIT))

    # Processes

    def clone(self, time: int, tid: int, child: int, *, shares: bool, is_thread: bool) -> None:
        """A thread, a process with the same memory (vfork), or a fork."""
        process = self._threads.get(tid)
        if process is None:
            return
        if is_thread:
            self._join(process, [child])
        elif shares:
            self._join(_Process(child, process.watched), [child])
        elif process.watched.alive and process.watched.born_ns >= 0 and process.watched.source.follow:
            at = self._at(time)
            watched = self._begins(child, process.watched, False)
            if watched is not None:
                self.n_calls += 1
                watched.begin_as_copy(at, process.watched)
                self._heap_end[watched.space] = self._heap_end.get(process.watched.space, 0)
                if not self._heap_end[watched.space]:
                    del self._heap_end[watched.space]
                self._join(_Process(child, watched), [child])

    def execve(self, time: int, tid: int, name: str) -> None:
        """Another program: an empty address space, in the process's own or, after vfork, in a new one."""
        process = self._threads.get(tid)
        if process is None or not process.watched.alive:
            return
        before = process.watched
        if before.born_ns < 0:
            return
        at = self._at(time)
        self.n_calls += 1
        for thread in process.threads - {process.pid}:
            self._threads.pop(thread, None)  # the others end by it
        process.threads = {process.pid}
        self._threads[process.pid] = process
        if len(self._users.get(before.space, ())) > 1:
            self._users[before.space].remove(process)
            after = self._begins(process.pid, before, True) if before.source.follow else None
            if after is None:
                del self._threads[process.pid]
                return
            after.born_ns = at
            process.watched = after
            self._users[after.space] = [process]
        else:
            before.execute(at, name)
            self._heap_end.pop(before.space, None)

    def exited(self, time: int, tid: int) -> None:
        """A thread ends; with the last of the last process the memory goes."""
        process = self._threads.pop(tid, None)
        if process is None:
            return
        process.threads.discard(tid)
        if process.threads:
            return
        watched = process.watched
        self._users[watched.space].remove(process)
        if not self._users[watched.space]:
            self.forget(watched)
            if watched.alive and watched.born_ns >= 0:
                self.n_calls += 1
                watched.end(self._at(time))
