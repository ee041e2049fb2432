"""Time: events and batches of ksmd in their order, and what is counted after each batch."""

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from tests.naive.ksm import Ksm
from tests.naive.memory import Memory, Mm
from tests.naive.tuning import tune
from tests.naive.verbs import NoHooks, Verbs

Row = dict[str, int]


def _events_by_time(trace: Trace) -> list[tuple[int, list[int]]]:
    """The times that occur, each with its rows."""
    groups: list[tuple[int, list[int]]] = []
    for row, time in enumerate(trace.events.time_ns.tolist()):
        if not groups or groups[-1][0] != time:
            groups.append((time, []))
        groups[-1][1].append(row)
    return groups


def _first_spaces(trace: Trace) -> list[int]:
    """The spaces that no fork makes: they live from the start."""
    e = trace.events
    children = {int(e.value[i]) for i in range(len(e.kind)) if e.kind[i] == Kind.FORK}
    return [space for space in range(len(trace.spaces)) if space not in children]


class Replay:
    """One replay; ksmd sleeps until `due`, or idles where that is None."""

    def __init__(self, trace: Trace, settings: dict[str, int]) -> None:
        self.trace = trace
        self.memory = Memory()
        self.ksm = Ksm(self.memory, trace.contents.lcp.tolist(), trace.contents.checksum.tolist(), settings)
        self.verbs = Verbs(self.memory, self.ksm)
        for space in _first_spaces(trace):
            self.memory.mms[space] = Mm(space)
        self.due: int | None = None
        self.sleep = 0  # sleep_millisecs when ksmd fell asleep
        self.rows: list[Row] = []
        self.spaces: list[Row] = []

    def run(self) -> None:
        """From the first event to the last."""
        for time, rows in _events_by_time(self.trace):
            while self.due is not None and self.due < time:
                self._wake(self.due)
            woken = False
            for row in rows:
                self._event(row)
                woken |= self.ksm.settings["sleep_millisecs"] != self.sleep
            if self.due is None or self.due == time or woken:
                self._wake(time)

    def _event(self, row: int) -> None:
        e = self.trace.events
        value = int(e.value[row])
        if e.kind[row] == Kind.TUNE:
            tune(self.ksm, self.trace.names[e.name[row]], value)
        else:
            self.verbs.apply(int(e.kind[row]), int(e.space[row]), int(e.page[row]), int(e.n_pages[row]), value)

    def _wake(self, time: int) -> None:
        self.due = None
        if self.ksm.may_scan():
            self.ksm.batch(time)
            self._sample(time)
        if self.ksm.may_scan():
            self.sleep = self.ksm.settings["sleep_millisecs"]
            self.due = time + self.sleep * 1_000_000

    def _sample(self, time: int) -> None:
        self.rows.append({"time_ns": time, **self.ksm.counters(), **self.memory.counters()})
        for space in sorted(self.memory.mms):
            mm = self.memory.mms[space]
            self.spaces.append(
                {
                    "time_ns": time,
                    "space": space,
                    "ksm_rmap_items": mm.rmap_items,
                    "ksm_merging_pages": mm.merging_pages,
                    "ksm_zero_pages": mm.zero_pages,
                }
            )


def naive_replay(trace: Trace, **settings: int) -> tuple[list[Row], list[Row]]:
    """The columns of `samples` (cpu_ns is 0) after every batch, and those of `spaces` per living space."""
    replay = Replay(trace, settings)
    replay.run()
    return replay.rows, replay.spaces


def naive_still(trace: Trace, *, merged: bool) -> list[Row]:
    """Without a scan, after the events of each time that occurs; `merged`: all mergeable at once, for nothing."""
    memory = Memory()
    verbs = Verbs(memory, NoHooks())
    for space in _first_spaces(trace):
        memory.mms[space] = Mm(space)
    e = trace.events
    rows = []
    for time, numbers in _events_by_time(trace):
        for i in numbers:
            if e.kind[i] != Kind.TUNE:
                verbs.apply(int(e.kind[i]), int(e.space[i]), int(e.page[i]), int(e.n_pages[i]), int(e.value[i]))
        frames = _merged_frames(memory) if merged else memory.counters()["frames"]
        rows.append({"time_ns": time, "frames": frames})
    return rows


def _merged_frames(memory: Memory) -> int:
    entries = memory.entries()
    wanted = {frame.content for mm, page, frame in entries if mm.mergeable(page)} - {0}
    asked = {frame for mm, page, frame in entries if mm.mergeable(page)}
    plain = {frame for mm, page, frame in entries if not mm.mergeable(page)}
    held = {frame.content for frame in plain & asked}  # a frame that stays anyway may hold its content
    return len(wanted - held) + len(plain)
