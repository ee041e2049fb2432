"""A child process whose memory a test knows and changes, and a capture of it that runs in a thread."""

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from ksmbench.capture.manifest import Options
from ksmbench.capture.session import Session
from ksmbench.capture.sources import find_processes
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from ksmbench.validate.lock import LOCK

PAGE = os.sysconf("SC_PAGE_SIZE")
REGION = 64  # pages
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a sibling process may be read by root only")

_SCRIPT = """
import ctypes, mmap, sys
PAGE = mmap.PAGESIZE
def area(n, *advice):
    new = mmap.mmap(-1, n * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for number in advice:
        new.madvise(number)
    return new
def where(new):
    return ctypes.addressof(ctypes.c_char.from_buffer(new)) // PAGE
def put(page, content):
    region[page * PAGE:(page + 1) * PAGE] = content.ljust(PAGE, b"\\0")
region = area(64, mmap.MADV_NOHUGEPAGE)
print(where(region), flush=True)
for line in sys.stdin:
    answer = None
    exec(line)
    print(answer, flush=True)
"""


@contextmanager
def ksm_lock() -> Iterator[None]:
    """Hold this machine's KSM: mergeable memory would disturb who counts what ksmd does."""
    try:
        file = LOCK.open("a")
    except OSError:
        yield  # whoever may not open it does not run such a count either
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Child:
    """The child; `first` is the first page number of its region of `REGION` pages."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self.first = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def do(self, statement: str) -> str:
        """Run a statement in the child; returns what it put into `answer`."""
        assert self._process.stdin is not None
        self._process.stdin.write(statement + "\n")
        self._process.stdin.flush()
        return self._line().strip()

    def end(self) -> None:
        """Let it end, and collect it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()


CALLS = "auto"  # who tells system calls, see `ksmbench.capture.tracing.told`


class Recording:
    """A capture of children in a thread; `looks(n)` waits for n further looks."""

    def __init__(
        self,
        children: Sequence[Child],
        path: Path,
        *,
        stop_s: float = 0.0,
        follow: bool = False,
        selection: str = "anonymous",
        **more: Any,
    ) -> None:
        self.path = path
        self.facts: dict[str, Any] = {}
        self._error: Exception | None = None
        self._looked = threading.Semaphore(0)
        self._gate = threading.Lock()
        self._at_gate = threading.Event()
        options = Options(path, 0.02, None, stop_s, selection=selection, calls=CALLS, **more)
        sources = find_processes([child.pid for child in children], follow=follow, selection=selection)
        self._session = Session(sources, options)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.facts = self._session.run(lambda progress: self._pass())
        except Exception as error:
            self._error = error
            self._looked.release(1000)

    def _pass(self) -> None:
        self._looked.release()
        self._at_gate.set()
        with self._gate:
            self._at_gate.clear()

    @contextmanager
    def between_looks(self) -> Iterator[None]:
        """Let no look happen meanwhile."""
        with self._gate:
            assert self._at_gate.wait(30)
            yield
        self._raise()

    def looks(self, n: int = 2) -> None:
        """Wait for two looks: the first may have begun before; and fail if the capture did."""
        while self._looked.acquire(blocking=False):
            pass
        for _ in range(n):
            assert self._looked.acquire(timeout=30)
        self._raise()

    def _raise(self) -> None:
        if self._error is None:
            return
        if "may not be read" in str(self._error):
            pytest.skip(str(self._error))
        raise self._error

    def join(self) -> None:
        """Wait until the capture ends by itself."""
        self._thread.join(30)
        assert not self._thread.is_alive()

    def finish(self) -> "Memory":
        """End the capture in order and return what it says."""
        self._session.interrupt()
        self.join()
        self._raise()
        return Memory(self.path)


class Memory:
    """What a trace says of one space's pages at the end: `pages` maps a page to its content id, or to "zero"."""

    def __init__(self, path: Path, space: int = 0) -> None:
        self.path = path
        self.trace = open_trace(path)
        self.pages: dict[int, int | str] = {}
        self.rows: list[tuple[Kind, int, int, int]] = []  # kind, page, count, value
        events = self.trace.events
        for i in range(len(events.kind)):
            if events.space[i] == space and events.kind[i] != Kind.TUNE:  # others may change KSM's settings meanwhile
                row = (Kind(events.kind[i]), int(events.page[i]), int(events.n_pages[i]), int(events.value[i]))
                self.rows.append(row)
                self._apply(*row)

    def _apply(self, kind: Kind, page: int, n: int, value: int) -> None:
        if kind in (Kind.EXIT, Kind.EXEC):
            self.pages.clear()
        for number in range(page, page + n) if kind in (Kind.WRITE, Kind.READ) else ():
            self.pages[number] = value if kind == Kind.WRITE else "zero"
        if kind in (Kind.UNMAP, Kind.MAP) or (kind == Kind.MADVISE and value == 4):
            for number in [p for p in self.pages if page <= p < page + n]:
                del self.pages[number]

    def of(self, child: Child) -> dict[int, int | str]:
        """Return the pages of the child's region, numbered from 0."""
        return {p - child.first: c for p, c in self.pages.items() if child.first <= p < child.first + REGION}

    def kinds(self, first: int, n: int = 1) -> list[tuple[Kind, int]]:
        """Return (kind, value) of the rows that touch pages [first, first + n), in order."""
        return [(k, v) for k, page, count, v in self.rows if page < first + n and page + count > first]
