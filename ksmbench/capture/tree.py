"""The children of processes under capture, and who joins a control group; they become spaces of their own."""

import ctypes
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ksmbench.capture.cgroup import Group
from ksmbench.capture.changes import Shared
from ksmbench.capture.procfs import (
    DeniedError,
    ProcessGoneError,
    all_pids,
    is_kernel_thread,
    read_text,
    start_time,
    stat_fields,
    threads_of,
)
from ksmbench.capture.sources import Source, find_followed
from ksmbench.capture.tracing.told import Told
from ksmbench.capture.watched import Watched
from ksmbench.errors import KsmbenchError

_KCMP = {"x86_64": 312, "aarch64": 272}.get(platform.machine(), -1)  # number of the system call
_KCMP_VM = 1
_PPID = 1  # among `stat_fields`

_libc = ctypes.CDLL(None, use_errno=True)


def children(pid: int) -> list[int]:
    """Return the ids of the children of all threads of a process, by id; none where it is gone."""
    found: list[int] = []
    for thread in threads_of(pid):
        try:
            found += map(int, read_text(pid, f"task/{thread}/children").split())
        except DeniedError:
            return []
        except ProcessGoneError:
            if not Path("/proc/self/task", str(os.getpid()), "children").exists():
                return _children_by_parent(pid)  # a kernel without CONFIG_PROC_CHILDREN
    return sorted(found)


def _children_by_parent(pid: int) -> list[int]:
    found = []
    for other in all_pids():
        try:
            if int(stat_fields(other)[_PPID]) == pid:
                found.append(other)
        except (ProcessGoneError, KsmbenchError):
            continue
    return found


def same_memory(one: int, other: int) -> bool:
    """Return whether two processes have one memory, as a vfork's child and its parent; False where nobody tells."""
    return _KCMP >= 0 and _libc.syscall(_KCMP, one, other, _KCMP_VM, 0, 0) == 0


class Tree:
    """Finds children of the watched, and members of a control group, and has them watched.

    `n_gone` counts those that were seen and ended before their first look, `n_denied` those that may not be read.
    """

    def __init__(self, shared: Shared, told: Told, watched: list[Watched], running: list[Watched]) -> None:
        """`watched` are all of the capture so far, `running` those that have not ended."""
        self._watched = watched
        self._running = running
        self._told = told
        self.n_gone = 0
        self.n_denied = 0
        self.why_denied: KsmbenchError | None = None  # the last of them
        self._shared = shared
        self._known: set[tuple[int, int]] = set()  # process ids with the times at which they began

    def add(self, process: Watched) -> None:
        """Have it under capture; its space is the next."""
        self._watched.append(process)
        self._running.append(process)

    def look_for_children(self, parent: Watched, clock: Callable[[], int]) -> None:
        """Look at the children of `parent` that are new; they are appended to those under capture."""
        for pid in children(parent.source.pid):
            if not same_memory(pid, parent.source.pid):  # vfork's child is the parent until it executes something
                self._look_at(pid, parent, clock, parent.source)

    def look_for_members(self, group: Group, clock: Callable[[], int], like: Source) -> None:
        """Look at the processes of a control group that are new, as at `like`; they are appended likewise."""
        for pid in sorted((pid for pid in group.members() if not self._knows(pid)), key=_age):
            parent = next((w for w in self._running if like.follow and w.source.pid == _parent(pid)), None)
            if not any(same_memory(pid, w.source.pid) for w in self._running if w.source.pid != pid):
                self._look_at(pid, parent, clock, like)

    def _knows(self, pid: int) -> bool:
        try:
            return (pid, start_time(pid)) in self._known
        except (ProcessGoneError, DeniedError):
            return True  # nothing is to be seen of it

    def _look_at(self, pid: int, parent: Watched | None, clock: Callable[[], int], like: Source) -> None:
        try:
            process = (pid, start_time(pid))
            if process in self._known or is_kernel_thread(pid):
                return
        except (ProcessGoneError, DeniedError):
            return
        if pid in (os.getpid(), *self._shared.stopper.pids):
            return  # where the capture is below whom it looks at
        self._known.add(process)
        try:
            self._begin(pid, parent, clock, like)
        except ProcessGoneError:
            self.n_gone += 1
        except KsmbenchError as error:
            self.n_denied += 1
            self.why_denied = error

    def _begin(self, pid: int, parent: Watched | None, clock: Callable[[], int], like: Source) -> None:
        self._told.catch_up()
        if self._has(pid):
            return  # one of those that were named, or that a call told of
        source = replace(find_followed(pid, like.selection), follow=like.follow)
        process = Watched(source, len(self._watched), self._shared, parent)
        if parent is not None:
            process.zero_pages_by_ksm = parent.zero_pages_by_ksm
        self.add(process)
        self._told.follow(process)
        try:
            process.look(clock)
            if process.born_ns < 0:
                raise ProcessGoneError
        except (ProcessGoneError, DeniedError):
            self._drop(process)
            raise

    def _drop(self, process: Watched) -> None:
        # One that the trace does not tell of.
        process.close()
        if process.alive:
            process.alive = False
            self._running.remove(process)
        self._told.forget(process)
        if self._watched[-1] is process:  # else it stays, a space without events
            self._watched.pop()

    def _has(self, pid: int) -> bool:
        return any(w.source.pid == pid for w in self._running)

    def begin_told(self, pid: int, parent: Watched, executes: bool) -> Watched | None:
        """Take in a child that a call tells of, also one that is gone since; None where it may not be read."""
        if self._has(pid):
            return None  # a look found it
        source = replace(parent.source, pid=pid)
        try:
            if executes:
                with suppress(ProcessGoneError):
                    source = find_followed(pid, parent.source.selection)
            with suppress(ProcessGoneError):
                self._known.add((pid, start_time(pid)))
            try:
                child = Watched(source, len(self._watched), self._shared, parent)
            except ProcessGoneError:
                child = Watched(source, len(self._watched), self._shared, parent, is_gone=True)
        except KsmbenchError:
            self.n_denied += 1
            return None
        child.zero_pages_by_ksm = parent.zero_pages_by_ksm
        self.add(child)
        return child


def _parent(pid: int) -> int:
    try:
        return int(stat_fields(pid)[_PPID])
    except (ProcessGoneError, KsmbenchError):
        return 0


def _age(pid: int) -> tuple[int, int]:
    # Who began first comes first, so parents before children.
    try:
        return start_time(pid), pid
    except (ProcessGoneError, KsmbenchError):
        return 0, pid
