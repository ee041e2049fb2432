"""System calls under capture: where they come from, and that they are applied in time."""

from collections.abc import Iterable
from typing import Any, Protocol

from ksmbench.capture.command import Started
from ksmbench.capture.procfs import threads_of
from ksmbench.capture.tracing.applying import Applied
from ksmbench.capture.tracing.straced import StraceClosedError, Straced
from ksmbench.capture.tracing.tracefs import TracingClosedError
from ksmbench.capture.tracing.tracer import Tracer
from ksmbench.capture.watched import Watched
from ksmbench.errors import KsmbenchError
from ksmbench.syscalls.sink import Sink


class Feed(Protocol):
    """Where calls come from."""

    name: str
    is_debugger: bool  # which no other may be, while it holds a process

    def follow(self, tids: Iterable[int]) -> None:
        """Tell of these threads and of what they start."""

    def begin(self) -> None:
        """Tell from here on."""

    def attach(self) -> None:
        """All that the capture begins with are there."""

    def tell(self, sink: Sink) -> None:
        """Tell the sink what was called up to now since the last time."""

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""

    def close(self) -> None:
        """End it."""


def open_feed(mode: str, *, why_no_strace: str = "") -> tuple[Feed | None, str]:
    """Return the best feed that the mode allows, or None and why.

    `why_no_strace` says why `auto` does not take strace, if it does not. Raises `KsmbenchError` where a feed is asked
    for that cannot be had.
    """
    if mode == "none":
        return None, "not asked for"
    why = []
    if mode in ("auto", "tracefs"):
        try:
            return Tracer(), ""
        except TracingClosedError as error:
            why.append(str(error))
            if mode == "tracefs":
                raise KsmbenchError(f"{error}; run this as root, or without --calls tracefs") from None
    missing = Straced.why_not()
    if mode == "strace" and missing:
        raise KsmbenchError(f"{missing}; install strace, or leave out --calls strace")
    if mode == "auto":
        missing = why_no_strace or missing
    if missing is None:
        return Straced(), ""
    return None, "; ".join([*why, missing])


class Told:
    """The calls of all processes under capture; without a feed nothing is told, and a look finds what it finds.

    What is kept is of processes that live (`Applied`), and of calls that are going on.
    """

    def __init__(self, feed: Feed | None, why: str, *, must_have: bool = False) -> None:
        self._feed = feed
        self._why = why
        self._must_have = must_have
        self._applied: Applied | None = None

    @property
    def has_feed(self) -> bool:
        """Whether calls are told."""
        return self._feed is not None

    def begin(self, applied: Applied) -> None:
        """Begin to apply what comes."""
        self._applied = applied
        if self._feed is not None:
            self._feed.begin()

    def attach(self, start: Started | None) -> str:
        """All processes that the capture begins with are followed, of them the one that it starts.

        Returns why nothing is told where strace may not attach, else "". Raises `KsmbenchError` there if it must.
        """
        if self._feed is None:
            return ""
        if start is not None and self._feed.is_debugger:
            start.leave_to_another()
        try:
            self._feed.attach()
        except StraceClosedError as error:
            if self._must_have:
                raise KsmbenchError(f"{error}; leave out --calls strace") from None
            self.close()
            self._applied = None
            self._why = "strace cannot attach"  # the sentence names a process
            return str(error)
        return ""

    def follow(self, watched: Watched) -> None:
        """Follow a process that is under capture now."""
        if self._feed is None or self._applied is None or not watched.is_readable:
            return
        seen: set[int] = set()
        while new := set(threads_of(watched.source.pid)) - seen:  # those that came while we asked
            self._feed.follow(sorted(new))
            seen |= new
        if seen:
            self._applied.register(watched, sorted(seen))

    def forget(self, watched: Watched) -> None:
        """It is under capture no more."""
        if self._applied is not None:
            self._applied.forget(watched)

    def catch_up(self) -> None:
        """Apply the calls up to now."""
        if self._feed is not None and self._applied is not None:
            self._applied.forget_names()
            self._feed.tell(self._applied)

    def facts(self) -> dict[str, Any]:
        """What the manifest says of them."""
        if self._feed is None:
            return {"source": "differences between looks", "why": self._why}
        n_applied = self._applied.n_calls if self._applied is not None else 0
        return {"source": self._feed.name, "applied": n_applied, **self._feed.facts()}

    def close(self) -> None:
        """End the feed."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None
