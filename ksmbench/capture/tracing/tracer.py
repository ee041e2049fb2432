"""The tracepoints of some threads and of what they start, read as they come and told in the order of their times."""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ksmbench.capture.procfs import PAGE_SIZE
from ksmbench.capture.tracing.others import named_ranges
from ksmbench.capture.tracing.ring import find_events
from ksmbench.capture.tracing.tracefs import Field, Format, Instance, TracingClosedError
from ksmbench.syscalls.sink import Sink
from ksmbench.syscalls.tracepoints import Tracepoints

_CALLS = ("madvise", "process_madvise", "mmap", "munmap", "mremap", "brk", "prctl")
_OTHERS = ("task/task_newtask", "sched/sched_process_exec", "sched/sched_process_exit")
_MERGE_ANY = 67  # PR_SET_MEMORY_MERGE
_MOST_BYTES = 256 << 20  # that wait to be told; what comes then waits in the kernel, and is lost there
_EVERY_S = 0.05
_PIECES = 4096  # read at a time at most, from one CPU

Value = int | str


class Event(NamedTuple):
    """One event: when (CLOCK_MONOTONIC), in which thread, its name without its system ("sys_enter_brk"), its fields."""

    time_ns: int
    tid: int
    name: str
    fields: dict[str, Value]


def _names() -> list[str]:
    return [*(f"syscalls/sys_{side}_{call}" for call in _CALLS for side in ("enter", "exit")), *_OTHERS]


class Tracer:
    """Records the threads given, and all that they start from then on; raises `TracingClosedError`.

    A thread of ours empties the kernel's buffers every 50 ms; what it took waits in memory until `events` tells it.
    """

    name = "tracefs"
    is_debugger = False

    def __init__(self) -> None:
        self._instance = Instance()
        self._files: list[int] = []
        self._waiting: list[list[bytes]] = []  # of each CPU
        self._n_waiting = 0
        self._later: list[Event] = []
        self._decoder: Tracepoints | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._formats = self._enable()
            self._files = self._instance.readers()
            self._waiting = [[] for _ in self._files]
        except OSError as error:
            self.close()
            raise TracingClosedError(f"tracefs does not let events be read ({error.strerror})") from None
        except BaseException:
            self.close()
            raise

    def _enable(self) -> dict[int, tuple[str, Format]]:
        formats = {}
        for name in _names():
            found = self._instance.format(name)
            if found is None:
                if name.endswith("process_madvise"):
                    continue  # before Linux 5.10
                raise TracingClosedError(f"this kernel has no event {name.replace('/', ':')}")
            self._instance.enable(name, f"option == {_MERGE_ANY}" if name.endswith("enter_prctl") else "")
            formats[found.number] = (name.partition("/")[2], found)
        return formats

    def follow(self, tids: Iterable[int]) -> None:
        """Record these threads, and what they start."""
        self._instance.follow(tids)

    def begin(self) -> None:
        """Have events recorded from here on, also of what this thread starts."""
        self._instance.follow([threading.get_native_id()])
        self._instance.write("tracing_on", "1")
        self._thread = threading.Thread(target=self._empty_buffers, name="tracefs", daemon=True)
        self._thread.start()

    def attach(self) -> None:
        """Nothing is to be done: the kernel tells of who is followed."""

    def tell(self, sink: Sink) -> None:
        """Tell the sink what was called up to now since the last time."""
        if self._decoder is None:
            self._decoder = Tracepoints(sink, named_ranges)
        for event in self.events():
            # A thread that executes has by then the number of the process, whose first thread has ended; and the
            # decoder forgets who ends.
            if sink.knows(event.tid) or event.name in ("sched_process_exec", "sched_process_exit"):
                self._decoder.event(*event)

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        unresolved = self._decoder.n_unresolved if self._decoder is not None else 0
        return {"clock": "mono", "lost": self._instance.lost(), "process_madvise_not_resolved": unresolved}

    def _empty_buffers(self) -> None:
        while not self._closing.wait(_EVERY_S):
            with self._lock:
                self._take()

    def _take(self) -> None:
        for file, waiting in zip(self._files, self._waiting, strict=True):
            for _ in range(_PIECES):
                if self._n_waiting >= _MOST_BYTES:
                    return
                try:
                    piece = os.read(file, PAGE_SIZE)
                except BlockingIOError:
                    break
                if not piece:
                    break
                waiting.append(piece)
                self._n_waiting += len(piece)

    def events(self) -> Iterator[Event]:
        """Yield what came since the last call up to now, in the order of the times."""
        until = time.monotonic_ns()
        with self._lock:
            self._take()
            taken, self._waiting = self._waiting, [[] for _ in self._files]
            self._n_waiting = 0
        found = self._later
        for pieces in taken:
            if pieces:
                found += self._decode(b"".join(pieces))
        found.sort(key=lambda event: event.time_ns)
        n = len(found)
        while n and found[n - 1].time_ns > until:  # another CPU may have some before these still
            n -= 1
        self._later = found[n:]
        yield from found[:n]

    def _decode(self, raw: bytes) -> list[Event]:
        events = find_events(raw, PAGE_SIZE)
        data = np.frombuffer(raw, np.uint8)
        number = _numbers(data, events.at, Field("type", 0, 2, False, False, False))
        result: list[Event] = []
        for kind in np.unique(number).tolist():
            if kind not in self._formats:
                continue
            name, layout = self._formats[kind]
            needed = max(field.offset + field.size for field in layout.fields)
            rows = np.flatnonzero((number == kind) & (events.size >= needed))
            at = events.at[rows]
            tids = _numbers(data, at, Field("pid", 4, 4, True, False, False))
            columns = [_column(data, raw, at, field) for field in layout.fields]
            names = [field.name for field in layout.fields]
            for when, tid, *values in zip(events.time_ns[rows].tolist(), tids.tolist(), *columns, strict=True):
                result.append(Event(when, tid, name, dict(zip(names, values, strict=True))))
        return result

    def close(self) -> None:
        """Stop, and remove the instance."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        for file in self._files:
            os.close(file)
        self._files, self._waiting = [], []
        self._instance.close()


def _numbers(data: npt.NDArray[np.uint8], at: npt.NDArray[np.int32], field: Field) -> npt.NDArray[np.int64]:
    # A field of 1, 2, 4 or 8 bytes of each event.
    columns = data[at[:, None].astype(np.int64) + np.arange(field.offset, field.offset + field.size)]
    kind = f"{'i' if field.signed else 'u'}{field.size}"
    return np.ascontiguousarray(columns).view(kind).reshape(-1).astype(np.int64)


def _column(data: npt.NDArray[np.uint8], raw: bytes, at: npt.NDArray[np.int32], field: Field) -> list[int] | list[str]:
    if not field.is_text:
        result: list[int] = _numbers(data, at, field).tolist()
        return result
    if not field.is_dynamic:
        places = [(start + field.offset, field.size) for start in at.tolist()]
    else:
        where = _numbers(data, at, field).tolist()
        places = [(start + (w & 0xFFFF), w >> 16 & 0xFFFF) for start, w in zip(at.tolist(), where, strict=True)]
    return [raw[start : start + n].partition(b"\0")[0].decode("utf-8", "replace") for start, n in places]
