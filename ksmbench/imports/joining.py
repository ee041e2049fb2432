"""A log of system calls and dumps of the processes it tells of, as one timeline.

The log says what is mapped and when it changes, each dump what the pages hold at its moment and what was mapped without
a call (the program, its stack, what was there before the log). Between dumps the state follows the calls, so that a
dump adds only what differs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ksmbench import __version__
from ksmbench.errors import UsageError
from ksmbench.imports.dump import Area, Dump, check_extents, n_bytes, refuse
from ksmbench.imports.importing import READERS, Moment, Progress, Wanted, manifest_head, moments_of
from ksmbench.imports.logs import LOGS, feed_log, refuse_empty
from ksmbench.imports.timeline import Timeline
from ksmbench.syscalls.calls import Calls
from ksmbench.syscalls.memory import Mapped, Memory
from ksmbench.trace.columns import Trace
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.rows import Rows
from ksmbench.trace.schema import Advice, Kind, Mapping

FORMATS = ("elf", "criu")  # whose dumps are of processes
_MOST_FILLED = 1 << 24  # pages (64 GiB): what a call fills beyond that, no dump of a machine here holds
_MOST_LOG_S = 1 << 33  # beyond any clock's seconds

Range = tuple[int, int]


@dataclass(frozen=True)
class _Look:
    moment: Moment
    dump: Dump


def _without(ranges: list[Range], taken: list[Range]) -> list[Range]:
    # The parts of `ranges` that are in none of `taken`, which ascend.
    left = []
    for start, end in ranges:
        for low, high in taken:
            if high <= start or low >= end:
                continue
            if start < low:
                left.append((start, low))
            start = high
        if start < end:
            left.append((start, end))
    return left


class Joined(Calls):
    """Takes calls, and looks at the dumps when their time has come."""

    def __init__(self, looks: list[_Look], zero_ns: int | None, line: Callable[[int, Rows], Timeline]) -> None:
        super().__init__()
        self.zero_ns = zero_ns
        self.sources: list[dict[str, Any]] = []
        self.rows.told = self._follow
        self._looks = looks
        self._new_line = line
        self._lines: dict[int, Timeline] = {}  # of each space
        self._ended: set[int] = set()  # processes
        self._by_look: dict[int, Path] = {}  # processes that a dump told of before any call, by its file
        self._now = 0
        self.tell: Callable[[int], None] | None = None

    def _at(self, time: int) -> int:
        if self.zero_ns is None:
            self.zero_ns = time
        while self._looks and self.zero_ns + self._looks[0].moment.time_ns < time:
            self._look(self._looks.pop(0))
        # A call that began before a look and is told after it ended after it, as far as can be known.
        self._now = max(self._now, time)
        return self._now

    def end(self) -> None:
        """The log is at its end: the looks that are left."""
        while self._looks:
            self._look(self._looks.pop(0))

    def _line(self, space: int) -> Timeline:
        if space not in self._lines:
            self._lines[space] = self._new_line(space, self.rows)
        return self._lines[space]

    # What the calls do to pages

    def _follow(self, _time: int, kind: int, space: int, page: int, n: int, value: int) -> None:
        line = self._line(space)
        if kind in (Kind.MAP, Kind.UNMAP) or (kind == Kind.MADVISE and value == Advice.DONTNEED):
            line.drop(page, page + n)
        elif kind == Kind.MOVE:
            line.move(page, n, value)
        elif kind in (Kind.TOUCH, Kind.READ):
            self._fill(space, page, page + n, writes=kind == Kind.TOUCH)
        elif kind in (Kind.EXEC, Kind.EXIT):
            line.drop(0, 1 << 62)
        elif kind == Kind.FORK:
            child = self._line(value)
            child.pages, child.contents = line.pages, line.contents

    def _fill(self, space: int, start: int, end: int, *, writes: bool) -> None:
        memory = next((memory for memory in self._memory.values() if memory.space == space), None)
        for area in memory.within(start, end) if memory is not None else []:
            fits = area.kind == Mapping.ANONYMOUS or (writes and area.kind == Mapping.FILE)
            if fits and area.end - area.start <= _MOST_FILLED:
                self._line(space).fill(area.start, area.end, writes=writes)

    def clone(self, time: int, tid: int, child: int, *, shares: bool, is_thread: bool) -> None:
        """A thread, a process with the same memory (vfork), or a fork."""
        if child in self._by_look:
            refuse(
                self._by_look[child],
                f"is of process {child} at a time at which the log has not begun it; is --log-start right?",
            )
        super().clone(time, tid, child, shares=shares, is_thread=is_thread)
        self._ended.discard(child)
        copied = self.memory(child)
        if copied is not None and not shares and not is_thread:
            line = self._line(copied.space)
            held = [(a.start, a.end) for a in copied.areas if Advice.WIPEONFORK not in a.advice]
            for start, end in _without([(0, 1 << 62)], held):
                line.drop(start, end)

    def exited(self, time: int, tid: int) -> None:
        """A thread ends; with the last of the last process the memory goes."""
        process = self._process[tid]
        super().exited(time, tid)
        if self.memory(process) is None:
            self._ended.add(process)

    # Looks

    def _look(self, look: _Look) -> None:
        dump, file = look.dump, look.moment.file
        assert dump.pid is not None
        zero_ns = self.zero_ns or 0
        self._now = max(self._now, zero_ns + look.moment.time_ns)
        if dump.pid in self._ended:
            refuse(file, f"is of process {dump.pid} at a time at which the log has ended it; is --log-start right?")
        memory = self.memory(dump.pid)
        if memory is None:
            self.root(dump.pid, dump.name)
            self._by_look[dump.pid] = file
            memory = self._memory[dump.pid]
        line = self._line(memory.space)
        if line.is_first and dump.unchanged:
            refuse(file, "builds on an earlier dump; give that first, with --at")
        line.is_first = False
        known = [(area.start, area.end) for area in memory.areas]
        self._take_in(memory, dump, known)
        # What the log knows and the dump leaves out is as it was.
        left_out = _without(known, [(area.start, area.end) for area in dump.areas])
        line.areas = [Area(a.start, a.end, Mapping(a.kind), a.name) for a in memory.areas]
        whole = replace(dump, areas=line.areas, unchanged=sorted(dump.unchanged + left_out))
        self.rows.told = None  # the line itself knows what it adds
        line.add(self._now, whole, self.tell)
        self.rows.told = self._follow
        self.sources.append(
            {
                "file": file.name,
                "at_ns": look.moment.time_ns,
                "space": memory.space,
                "pages": len(line.pages),
            }
        )

    def _take_in(self, memory: Memory, dump: Dump, known: list[Range]) -> None:
        # Mappings that no call told of. What one told of has the kind that the call gave it.
        for area in dump.areas:
            for start, end in _without([(area.start, area.end)], known):
                name = self.rows.number(area.name) if area.name else -1
                self.rows.add(self._now, Kind.MAP, memory.space, start, end - start, int(area.kind), name=name)
                for advice in area.advice:
                    self.rows.add(self._now, Kind.MADVISE, memory.space, start, end - start, advice)
                memory.put(Mapped(start, end, int(area.kind), area.name, frozenset(area.advice)))


def _zero_ns(wanted: Wanted, log_format: str) -> int | None:
    text = wanted.log_start
    if not text:
        return None
    try:
        seconds = Decimal(text)
        if not 0 <= seconds < _MOST_LOG_S:
            raise UsageError(f"--log-start {text}: must be seconds of the log's clock")
        return int(seconds * 10**9)
    except InvalidOperation:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--log-start {text}: must be seconds of the log's clock, or an ISO 8601 time") from None
    if log_format != "strace":
        raise UsageError(f"--log-start {text}: the clock of {log_format} does not tell the date; give its seconds")
    return round(moment.timestamp() * 10**6) * 1000


def _checked(wanted: Wanted) -> tuple[str, Path]:
    log_format, colon, file = wanted.log.partition(":")
    if not colon or log_format not in LOGS or not file:
        raise UsageError(f"--log {wanted.log}: must be FORMAT:FILE with one of the formats {', '.join(LOGS)}")
    if wanted.format not in FORMATS:
        raise UsageError(f"--log tells of processes; {wanted.format} is not a dump of one, {' and '.join(FORMATS)} are")
    if not wanted.at_s:
        raise UsageError("--log needs --at for each file: the second at which it was made, counted from --log-start")
    if wanted.names or wanted.asks:
        raise UsageError(
            "--log tells the names of processes and who asked for merging; leave out --name and --mergeable"
        )
    return log_format, Path(file)


def _read_looks(wanted: Wanted) -> list[_Look]:
    looks: list[_Look] = []
    each_its_own = replace(wanted, names=[str(number) for number in range(len(wanted.files))])
    for moment in moments_of(each_its_own):
        dumps = READERS[wanted.format](moment.file, is_first=False)
        for dump in dumps:
            check_extents(dump)
            if dump.kind != "process" or dump.pid is None:
                refuse(moment.file, "does not say of which process it is, so no log can tell what happened to it")
            looks.append(_Look(moment, dump))
    moments = {(look.moment.time_ns, look.dump.pid) for look in looks}
    if len(moments) < len(looks):
        raise UsageError("two files are of one moment of one process; give different times with --at")
    return looks


def import_joined(wanted: Wanted, store: ContentStore, progress: Progress | None = None) -> tuple[Trace, list[str]]:
    """Read the log and the dumps into a trace; `store` holds the contents. Also returns what is to be known about it.

    Raises `UsageError` for a file that is broken or something else, and for dumps of processes that the log does not
    have at their times.
    """
    log_format, log = _checked(wanted)
    zero_ns = _zero_ns(wanted, log_format)
    looks = _read_looks(wanted)
    n_all, n_done = sum(n_bytes(look.dump) for look in looks), 0

    def told(n: int) -> None:
        nonlocal n_done
        n_done += n
        if progress is not None:
            progress(min(1.0, n_done / max(1, n_all)))

    def line(space: int, rows: Rows) -> Timeline:
        return Timeline(space, rows, store, wanted.zeroes, asks=False)

    joined = Joined(list(looks), zero_ns, line)
    joined.tell = told
    notes = feed_log(log_format, log, joined)
    if joined.begins_ns() is None:
        refuse_empty(log_format, log)
    joined.end()
    for look in looks:
        notes += [note for note in look.dump.notes if note not in notes]
    events, ranking = joined.events(joined.zero_ns), store.rank()
    value, writes = events.value.copy(), events.kind == Kind.WRITE
    value[writes] = ranking.rank[value[writes]]
    value.setflags(write=False)
    manifest = manifest_head(wanted) | {
        "capture": {
            "tool": f"ksmbench {__version__} import",
            "imported_from": f"{wanted.format} with {log_format}",
            "sources": [*joined.sources, {"file": log.name, "begins_ns": joined.zero_ns}],
            "zeroes": f"a page of zeros counts as: {wanted.zeroes}",
            "tracked": [
                "mappings, advice, forks, execs and exits as the log tells them",
                "contents of pages at the moments of the dumps",
            ],
            "not_tracked": ["what was written between two dumps", "huge frames, NUMA nodes", *notes],
        },
    }
    trace = Trace(
        manifest, tuple(joined.spaces), events._replace(value=value), ranking.contents, tuple(joined.rows.names)
    )
    return trace, notes
