"""System calls of processes, in the order in which they were made, as events: who maps, forks, executes, ends.

It follows threads and vfork, which have the memory of another, and remembers what is mapped as what, since a mapping
that mremap grows has the kind and the advice of what it grows from.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ksmbench.syscalls.memory import Mapped, Memory
from ksmbench.syscalls.sink import PAGE_BYTES
from ksmbench.trace.columns import Events, Space
from ksmbench.trace.rows import Rows
from ksmbench.trace.schema import Advice, Kind, Mapping

_HEAP = "[heap]"
_DONTNEED_LOCKED = 24  # DONTNEED, of locked pages too
_KEPT_ADVICE = (Advice.DONTFORK, Advice.MERGEABLE, Advice.HUGEPAGE, Advice.NOHUGEPAGE, Advice.WIPEONFORK)
_UNDOES: dict[int, Advice] = {
    Advice.DOFORK: Advice.DONTFORK,
    Advice.UNMERGEABLE: Advice.MERGEABLE,
    Advice.HUGEPAGE: Advice.NOHUGEPAGE,
    Advice.NOHUGEPAGE: Advice.HUGEPAGE,
    Advice.KEEPONFORK: Advice.WIPEONFORK,
}


class Calls:
    """Takes calls with their times, in ns, and pages; a thread is known by its number `tid`."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.spaces: list[Space] = []
        self._process: dict[int, int] = {}  # of each thread
        self._threads: dict[int, set[int]] = {}  # of each process
        self._memory: dict[int, Memory] = {}  # of each process
        self._last: dict[int, int] = {}  # the time of each space's last event

    def knows(self, tid: int) -> bool:
        """Whether the thread lives."""
        return tid in self._process

    def root(self, tid: int, name: str = "") -> None:
        """A process that was there before."""
        self._join(tid, tid, self._new_space(tid, name))

    def _new_space(self, pid: int, name: str = "") -> Memory:
        self.spaces.append(Space(pid or None, name or f"pid-{pid}", "process"))
        return Memory(len(self.spaces) - 1)

    def _join(self, tid: int, process: int, memory: Memory) -> None:
        self._process[tid] = process
        self._threads.setdefault(process, set()).add(tid)
        self._memory[process] = memory
        memory.users.add(process)

    def memory(self, process: int) -> Memory | None:
        """The address space of a process, None where it does not live."""
        return self._memory.get(process)

    def _at(self, time: int) -> int:
        """A call of this time is told now; returns the time that it counts as."""
        return time

    def _add(self, time: int, kind: int, space: int, page: int = 0, n: int = 0, value: int = 0, name: int = -1) -> None:
        # What is told later came later in its space, whatever its time: no event may come after an exit.
        time = max(time, self._last.get(space, time))
        self._last[space] = time
        if kind == Kind.FORK:
            self._last[value] = time
        self.rows.add(time, kind, space, page, n, value, name=name)

    def _of(self, tid: int) -> Memory:
        return self._memory[self._process[tid]]

    def map(
        self, time: int, tid: int, page: int, n: int, kind: Mapping, name: str = "", *, fills: bool = False
    ) -> None:
        """A mapping begins; one that `fills` has all its pages at once."""
        time = self._at(time)
        memory = self._of(tid)
        memory.put(Mapped(page, page + n, int(kind), name))
        number = self.rows.number(name) if name else -1
        self._add(time, Kind.MAP, memory.space, page, n, int(kind), name=number)
        if fills and kind == Mapping.ANONYMOUS:
            self._add(time, Kind.TOUCH, memory.space, page, n)

    def unmap(self, time: int, tid: int, page: int, n: int) -> None:
        """A part of the address space is free."""
        time = self._at(time)
        memory = self._of(tid)
        if n > 0 and memory.cut_out(page, page + n):
            self._add(time, Kind.UNMAP, memory.space, page, n)

    def brk(self, time: int, tid: int, end: int) -> None:
        """The heap ends at the address `end` now; the first call tells where it is. What it grows by has no advice."""
        time = self._at(time)
        memory = self._of(tid)
        before, now = -(-memory.heap_end // PAGE_BYTES), -(-end // PAGE_BYTES)
        if memory.heap_end and now > before:
            self.map(time, tid, before, now - before, Mapping.ANONYMOUS, _HEAP)
        elif memory.heap_end and now < before:
            self.unmap(time, tid, now, before - now)
        memory.heap_end = end

    def _grow(self, time: int, tid: int, page: int, end: int, area: Mapped | None) -> None:
        kind = Mapping(area.kind) if area else Mapping.ANONYMOUS
        self.map(time, tid, page, end - page, kind, area.name if area else "")
        for advice in sorted(area.advice) if area else ():
            self.madvise(time, tid, page, end - page, advice)

    def mremap(self, time: int, tid: int, page: int, n: int, n_new: int, to: int, *, leaves: bool) -> None:
        """A mapping is resized, and perhaps moved; one that it `leaves` behind is empty then."""
        time = self._at(time)
        memory = self._of(tid)
        area = memory.at(page)
        if n_new < n:
            self.unmap(time, tid, page + n_new, n - n_new)
            n = n_new
        if to != page and n > 0:
            self._add(time, Kind.MOVE, memory.space, page, n, to)
            moved = memory.cut_out(page, page + n)
            memory.cut_out(to, to + n_new)
            memory.put_all(replace(a, start=a.start - page + to, end=a.end - page + to) for a in moved)
            if leaves:
                self._grow(time, tid, page, page + n, area)
        if n_new > n:
            self._grow(time, tid, to + n, to + n_new, area)

    def madvise(self, time: int, tid: int, page: int, n: int, advice: int) -> None:
        """Advice, by its number."""
        time = self._at(time)
        memory = self._of(tid)
        advice = Advice.DONTNEED if advice == _DONTNEED_LOCKED else advice
        self._add(time, Kind.MADVISE, memory.space, page, n, advice)
        if advice in _KEPT_ADVICE or advice in _UNDOES:
            undone = {_UNDOES[advice]} if advice in _UNDOES else set()
            given = {advice} if advice in _KEPT_ADVICE else set()
            memory.put_all(
                replace(area, advice=area.advice - undone | given) for area in memory.cut_out(page, page + n)
            )

    def fill(self, time: int, tid: int, page: int, n: int, *, writes: bool) -> None:
        """Every page of a range is written with what it holds, or read."""
        time = self._at(time)
        self._add(time, Kind.TOUCH if writes else Kind.READ, self._of(tid).space, page, n)

    def merge_any(self, time: int, tid: int, on: int) -> None:
        """PR_SET_MEMORY_MERGE."""
        time = self._at(time)
        memory = self._of(tid)
        memory.merges_any = bool(on)
        self._add(time, Kind.PRCTL, memory.space, value=int(bool(on)))

    def clone(self, time: int, tid: int, child: int, *, shares: bool, is_thread: bool) -> None:
        """A thread, a process with the same memory (vfork), or a fork."""
        time = self._at(time)
        memory = self._of(tid)
        if is_thread:
            self._join(child, self._process[tid], memory)
        elif shares:
            self._join(child, child, memory)
        else:
            copied = self._new_space(child)
            copied.areas = [area for area in memory.areas if Advice.DONTFORK not in area.advice]
            copied.heap_end, copied.merges_any = memory.heap_end, memory.merges_any
            self.spaces[copied.space] = replace(self.spaces[copied.space], name=self.spaces[memory.space].name)
            self._add(time, Kind.FORK, memory.space, value=copied.space)
            self._join(child, child, copied)

    def execve(self, time: int, tid: int, name: str) -> None:
        """Another program: an empty address space, in the process's own or, after vfork, in a new one."""
        time = self._at(time)
        process, memory = self._process[tid], self._of(tid)
        if len(memory.users) > 1:
            memory.users.discard(process)
            new = self._new_space(process)
            if memory.merges_any:
                self._add(time, Kind.PRCTL, new.space, value=1)
        else:
            new = Memory(memory.space)
            self._add(time, Kind.EXEC, memory.space)
        new.merges_any = memory.merges_any
        for thread in self._threads.pop(process):
            self._process.pop(thread)  # the others end by it
        self._join(process, process, new)
        self.spaces[new.space] = replace(self.spaces[new.space], name=name)

    def exited(self, time: int, tid: int) -> None:
        """A thread ends; with the last of the last process the memory goes."""
        time = self._at(time)
        process = self._process.pop(tid)
        self._threads[process].discard(tid)
        if not self._threads[process]:
            memory = self._memory.pop(process)
            memory.users.discard(process)
            if not memory.users:
                self._add(time, Kind.EXIT, memory.space)

    def begins_ns(self) -> int | None:
        """The time of the first event; None where there is none."""
        times = self.rows.events().time_ns
        return int(times.min()) if len(times) else None

    def events(self, zero_ns: int | None = None) -> Events:
        """All events in order of time, which is 0 at `zero_ns`, or with the first; what was before that is at 0."""
        events = self.rows.events()
        order = np.argsort(events.time_ns, kind="stable")
        columns: list[Any] = [column[order] for column in events]
        if len(order):
            columns[0] = np.maximum(columns[0] - (columns[0][0] if zero_ns is None else zero_ns), 0)
        for column in columns:
            column.setflags(write=False)
        return Events(*columns)
