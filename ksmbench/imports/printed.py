"""Tracepoints as text, the way tracefs, trace-cmd and perf print them."""

import re
from typing import NamedTuple

from ksmbench.syscalls.sink import Sink
from ksmbench.syscalls.tracepoints import Tracepoints, Value

_CALLS = ("mmap", "munmap", "mremap", "brk", "madvise", "process_madvise", "prctl")
_CALL_EVENTS = {f"sys_{side}_{call}" for call in _CALLS for side in ("enter", "exit")}
# Names of programs stand in these as they are, with blanks and whatever else.
_TASK_EVENTS = {
    "task_newtask": re.compile(r"pid=(?P<pid>\d+) comm=.* clone_flags=(?P<clone_flags>[0-9a-f]+) "),
    "sched_process_fork": re.compile(r"comm=.* pid=\d+ child_comm=.* child_pid=(?P<child_pid>\d+)"),
    "sched_process_exec": re.compile(r"filename=(?P<filename>.*) pid=(?P<pid>\d+) old_pid=(?P<old_pid>\d+)"),
    "sched_process_exit": re.compile(r""),
}
_ARGUMENT = re.compile(r"(\w+): (?:0x)?([0-9a-fA-F]+)")
_RESULT = re.compile(r"(?:0x)?([0-9a-fA-F]+)\s*")
_KTHREADD = 2  # the kernel's own threads come from it


class Printed(NamedTuple):
    """A line of an event; `process` is the thread's process, where the line tells."""

    time_ns: int
    tid: int
    process: int | None
    comm: str
    name: str
    text: str


def _fields(name: str, text: str) -> dict[str, Value] | None:
    if name.startswith("sys_enter_"):
        return {key: int(value, 16) for key, value in _ARGUMENT.findall(text)}
    if name.startswith("sys_exit_"):
        found = _RESULT.fullmatch(text)
        return {"ret": int(found[1], 16)} if found else None
    found = _TASK_EVENTS[name].match(text)
    if found is None:
        return None
    words = found.groupdict()
    numbers = {key: int(value, 16 if key == "clone_flags" else 10) for key, value in words.items() if key != "filename"}
    return {**words, **numbers}


class PrintedEvents:
    """Takes the lines' events, tells `sink` the calls; other events than those it needs are passed by.

    Counted are the events that the tracer lost (`lost`, as the log says), and those that go back in time.
    """

    def __init__(self, sink: Sink) -> None:
        self.n_lost = 0
        self.n_backwards = 0
        self.first_ns: int | None = None
        self._n_unread = 0
        self._last_ns = 0
        self._n_before = 0
        self._sink = sink
        self._decoder = Tracepoints(sink, begins=self._begins)
        self._now: Printed | None = None

    def event(self, printed: Printed) -> None:
        """The next event."""
        name = printed.name
        if (name not in _CALL_EVENTS and name not in _TASK_EVENTS) or printed.tid in (0, _KTHREADD):
            return
        if self.first_ns is None:
            self.first_ns = printed.time_ns
        self.n_backwards += printed.time_ns < self._last_ns
        self._last_ns = printed.time_ns
        fields = _fields(name, printed.text)
        if fields is None:
            self._n_unread += 1
            return
        self._now = printed
        self._decoder.event(printed.time_ns, printed.tid, name, fields)

    def _begins(self, tid: int) -> None:
        # A thread that ran before the log began. Whether it is its process's first, only some logs tell.
        assert self._now is not None
        process, name = self._now.process, self._now.comm
        if process is None or process == tid:
            self._n_before += process is None
            self._sink.root(tid, name)
            return
        if not self._sink.knows(process):
            self._sink.root(process, name)
        self._sink.clone(self._now.time_ns, process, tid, shares=True, is_thread=True)

    def notes(self) -> list[str]:
        """What is to be known about the log."""
        decoder = self._decoder
        n_unread = self._n_unread + decoder.n_unread
        told = (
            (self.n_lost, "events were lost by the tracer, so calls are missing"),
            (n_unread, "events could not be understood"),
            (self.n_backwards, "events come after later ones; what they do to each other may be wrong"),
            (
                decoder.n_unresolved,
                "calls of process_madvise are left out, as no event tells whose memory they are about",
            ),
            (
                decoder.n_guessed,
                "tasks count as forks, as without task:task_newtask no event tells threads from processes",
            ),
            (max(0, self._n_before - 1), "more threads ran before the log began; each counts as a process of its own"),
        )
        return [f"{n:,} {what}" for n, what in told if n]
