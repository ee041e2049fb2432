"""Time: events and batches of ksmd in their order, and what is counted after each batch."""

from ksmbench.designs.ksm.features import Features
from ksmbench.engine import machine
from ksmbench.engine.cost import CostProfile
from ksmbench.engine.plan import make_plan
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from tests.naive.advisor import end_of_scan
from tests.naive.ksm import Ksm
from tests.naive.memory import Memory, Mm
from tests.naive.tuning import tune
from tests.naive.verbs import NoHooks, Verbs
from tests.naive.work import Bill

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


def _page_tables(trace: Trace) -> list[set[int]]:
    """Of each mm, the page tables of the pages that the plan has entries for."""
    plan = make_plan(trace)
    pages, base, end = plan.pages() // 512, plan.columns[machine.BASE], plan.columns[machine.END]
    return [set(pages[first:last].tolist()) for first, last in zip(base, end, strict=True)]


class Replay:
    """One replay; ksmd works or sleeps until `due`, or idles where that is None."""

    def __init__(self, trace: Trace, features: Features, settings: dict[str, int], cost: CostProfile | None) -> None:
        self.trace = trace
        self.cost = cost
        self.memory = Memory(features)
        contents = trace.contents
        self.ksm = Ksm(
            self.memory, contents.lcp.tolist(), contents.checksum.tolist(), features, settings, _page_tables(trace)
        )
        self.began = int(trace.events.time_ns[0])
        self.refused = 0
        self.verbs = Verbs(self.memory, self.ksm, len(trace.spaces))
        for space in _first_spaces(trace):
            self.memory.mms[space] = Mm(space)
        self.due: int | None = None
        self.working = False
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
                if self.ksm.features.sleep_store_wakes and not self.working:
                    woken |= self.ksm.settings["sleep_millisecs"] != self.sleep
            if self.due is None or self.due == time or woken:
                self._wake(time)

    def _event(self, row: int) -> None:
        e = self.trace.events
        value = int(e.value[row])
        if e.kind[row] == Kind.TUNE:
            self.refused += not tune(self.ksm, self.trace.names[e.name[row]], value)
        else:
            page, count, numa = int(e.page[row]), int(e.n_pages[row]), int(e.node[row])
            self.verbs.apply(int(e.kind[row]), int(e.space[row]), page, count, value, numa)

    def _wake(self, time: int) -> None:
        """The end of a sleep or of a batch's CPU time, or an event while ksmd idles."""
        if not self.working and self.ksm.may_scan():
            time += self._batch(time)
            self.working = True
            self.due = time
            if self.cost is not None:
                return
        self.working = False
        self.due = None
        if self.ksm.may_scan():
            self.sleep = self.ksm.settings["sleep_millisecs"]
            self.due = self._sleep_end(time)

    def _sleep_end(self, time: int) -> int:
        """Sleeps end on a jiffy, one later than asked."""
        if self.cost is None or self.sleep == 0:
            return time + self.sleep * 1_000_000
        jiffy = 1_000_000_000 // self.cost.hz
        return (time // jiffy + 1 - -self.sleep * 1_000_000 // jiffy) * jiffy

    def _batch(self, time: int) -> int:
        """A batch at this time; the CPU time it takes."""
        ksm = self.ksm
        bill, scans = Bill(ksm.work, ksm.processed, ksm.skipped), ksm.seq
        ksm.batch(time)
        spent = 0
        if self.cost is not None:
            spent = bill.ns(self.cost, ksm.processed, ksm.skipped)
        ksm.cpu_ns += spent
        if ksm.seq != scans and ksm.settings.get("advisor_mode"):
            end_of_scan(ksm, time + spent, self.began)
        self._sample(time)
        return spent

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


def naive_replay(
    trace: Trace, features: Features, settings: dict[str, int], cost: CostProfile | None = None
) -> tuple[list[Row], list[Row], int]:
    """The columns of `samples` after every batch, those of `spaces` per living space, and the stores refused."""
    replay = Replay(trace, features, settings, cost)
    replay.run()
    return replay.rows, replay.spaces, replay.refused


def naive_still(trace: Trace, *, merged: bool) -> list[Row]:
    """Without a scan, after the events of each time that occurs; `merged`: all mergeable at once, for nothing."""
    memory = Memory(Features())
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
