"""Where calls go, in the order in which they were made."""

from typing import Protocol

from ksmbench.trace.schema import Mapping

PAGE_BYTES = 4096


class Sink(Protocol):
    """Takes calls that succeeded: times in ns, `tid` the thread, addresses and lengths in pages of `PAGE_BYTES`."""

    def knows(self, tid: int) -> bool:
        """Whether the thread lives, as far as calls told."""

    def root(self, tid: int, name: str = "") -> None:
        """A process that was there before, by its name where that is known."""

    def map(
        self, time: int, tid: int, page: int, n: int, kind: Mapping, name: str = "", *, fills: bool = False
    ) -> None:
        """A mapping begins; one that `fills` has all its pages at once."""

    def unmap(self, time: int, tid: int, page: int, n: int) -> None:
        """A part of the address space is free."""

    def brk(self, time: int, tid: int, end: int) -> None:
        """The heap ends at the address `end`, in bytes, now."""

    def mremap(self, time: int, tid: int, page: int, n: int, n_new: int, to: int, *, leaves: bool) -> None:
        """A mapping is resized, and perhaps moved; one that it `leaves` behind is empty then."""

    def madvise(self, time: int, tid: int, page: int, n: int, advice: int) -> None:
        """Advice, by its number."""

    def fill(self, time: int, tid: int, page: int, n: int, *, writes: bool) -> None:
        """Every page of a range is written with what it holds, or read."""

    def merge_any(self, time: int, tid: int, on: int) -> None:
        """PR_SET_MEMORY_MERGE."""

    def clone(self, time: int, tid: int, child: int, *, shares: bool, is_thread: bool) -> None:
        """A thread, a process with the same memory (vfork), or a fork."""

    def execve(self, time: int, tid: int, name: str) -> None:
        """Another program: an empty address space, in the process's own or, after vfork, in a new one."""

    def exited(self, time: int, tid: int) -> None:
        """A thread ends; with the last of the last process the memory goes."""
