"""The children of processes under capture, which become spaces of their own."""

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path

from ksmbench.capture.procfs import ProcessGoneError, all_pids, read_text, start_time, stat_fields
from ksmbench.capture.sources import find_followed
from ksmbench.capture.watched import Shared, Watched
from ksmbench.errors import KsmbenchError

_KCMP = {"x86_64": 312, "aarch64": 272}.get(platform.machine(), -1)  # number of the system call
_KCMP_VM = 1
_PPID = 1  # among `stat_fields`

_libc = ctypes.CDLL(None, use_errno=True)


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """Return the ids of the children of all threads of a process, by id; none where it is gone."""
    found: list[int] = []
    for thread in _threads(pid):
        try:
            found += map(int, read_text(pid, f"task/{thread}/children").split())
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
    """Finds children of the watched and has them watched.

    `n_gone` counts those that were seen and ended before their first look, `n_denied` those that may not be read.
    """

    def __init__(self, shared: Shared) -> None:
        self.n_gone = 0
        self.n_denied = 0
        self._shared = shared
        self._known: set[tuple[int, int]] = set()  # process ids with the times at which they began

    def look_for_children(self, parent: Watched, clock: Callable[[], int]) -> None:
        """Look at the children of `parent` that are new; they are appended to those under capture."""
        own = (os.getpid(), *self._shared.stopper.pids)  # where the capture is below whom it looks at
        for pid in children(parent.source.pid):
            try:
                child = (pid, start_time(pid))
            except (ProcessGoneError, KsmbenchError):
                continue
            if child in self._known or pid in own or same_memory(pid, parent.source.pid):
                continue  # vfork's child is the parent until it executes something
            self._known.add(child)
            try:
                self._begin(pid, parent, clock)
            except ProcessGoneError:
                self.n_gone += 1
            except KsmbenchError:
                self.n_denied += 1

    def _begin(self, pid: int, parent: Watched, clock: Callable[[], int]) -> None:
        all_watched = self._shared.watched
        if any(w.source.pid == pid and w.alive for w in all_watched):
            return  # one of those that were named
        child = Watched(find_followed(pid, parent.source.selection), len(all_watched), self._shared, parent)
        child.zero_pages_by_ksm = parent.zero_pages_by_ksm
        child.look(clock)
        if child.born_ns < 0:
            child.close()
            raise ProcessGoneError
        all_watched.append(child)
