"""Time: events and batches of ksmd in their order, and what is counted after each batch."""

from __future__ import annotations

from ksmbench.engine.cost import CostProfile
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from tests.naive.replay import Row, _events_by_time, _first_spaces
from tests.naive.review import devksm, linux_2_6_32, rfc, rollup
from tests.naive.review.items import Merger
from tests.naive.review.memory import OldMemory
from tests.naive.review.verbs import OldVerbs
from tests.naive.work import Bill

DESIGNS: dict[str, tuple[type[Merger], dict[str, int | str]]] = {
    "devksm-2009": (devksm.Devksm, devksm.DEFAULTS),
    "madvise-rfc-2009": (rfc.Rfc, rfc.DEFAULTS),
    "ksm-rollup-2009": (rollup.Rollup, rollup.DEFAULTS),
    "ksm-2.6.32": (linux_2_6_32.Linux2632, linux_2_6_32.DEFAULTS),
}
_LIMITS = {"pages_to_scan": 1 << 32, "sleep_millisecs": 1 << 32, "sleep": 1 << 32, "max_kernel_pages": 1 << 63}


def store(merger: Merger, name: str, value: int) -> bool:
    """A store into one of ksmd's files; False where it is not possible, and then nothing changes."""
    if name in _LIMITS and name in merger.settings:
        if not 0 <= value < _LIMITS[name]:
            return False
        merger.settings[name] = value
        return True
    if name in ("run", "merge_pid", "unmerge_pid") and hasattr(merger, f"store_{name}"):
        return bool(getattr(merger, f"store_{name}")(value))
    return False


class Replay:
    """One replay; ksmd works or sleeps until `due`, or idles where that is None."""

    def __init__(
        self,
        trace: Trace,
        design: str,
        settings: dict[str, int | str],
        cost: CostProfile | None,
        asking: frozenset[int],
    ) -> None:
        make, defaults = DESIGNS[design]
        assert settings.keys() <= defaults.keys()
        self.trace = trace
        self.cost = cost
        self.memory = OldMemory()
        contents = trace.contents
        complete = {**defaults, **settings}
        self.merger = make(self.memory, contents.lcp.tolist(), contents.checksum.tolist(), complete)
        self.verbs = OldVerbs(self.memory, self.merger, asking)
        self.refused = 0
        self.due: int | None = None
        self.working = False
        self.rows: list[Row] = []

    def run(self) -> Row:
        """From the first event to the last; what stands at the end."""
        self.verbs.begin(_first_spaces(self.trace))
        for time, rows in _events_by_time(self.trace):
            while self.due is not None and self.due < time:
                self._wake(self.due)
            self.memory.now = time
            for row in rows:
                self._event(row)
            if self.due is None or self.due == time:
                self._wake(time)
        self.memory.now = time
        return {
            **self._row(time),
            "refused": self.refused,
            "longest_delay_ns": self.memory.longest_delay(),
            "copies_at_exit": self.merger.copies_at_exit,
            "copies_at_stop": self.merger.copies_at_stop,
        }

    def _event(self, row: int) -> None:
        e = self.trace.events
        value = int(e.value[row])
        if e.kind[row] == Kind.TUNE:
            self.refused += not store(self.merger, self.trace.names[e.name[row]], value)
        else:
            self.verbs.apply(int(e.kind[row]), int(e.space[row]), int(e.page[row]), int(e.n_pages[row]), value)

    def _wake(self, time: int) -> None:
        """The end of a sleep or of a batch's CPU time, or an event while ksmd idles."""
        if not self.working and self.merger.ready():
            time += self._batch(time)
            self.working = True
            self.due = time
            if self.cost is not None:
                return
        self.working = False
        self.due = self._sleep_end(time) if self.merger.ready() else None

    def _sleep_end(self, time: int) -> int:
        """Sleeps end on a jiffy, one later than asked."""
        ns = self.merger.sleep_ns()
        if self.cost is None or ns == 0:
            return time + ns
        jiffy = 1_000_000_000 // self.cost.hz
        return (time // jiffy + 1 - -ns // jiffy) * jiffy

    def _batch(self, time: int) -> int:
        """A batch at this time; the CPU time it takes."""
        self.memory.now = time
        merger = self.merger
        passed = merger.steps_absent + merger.steps_dead + merger.steps_idle
        bill = Bill(merger.work, merger.pages_scanned, passed)
        merger.batch()
        spent = 0
        if self.cost is not None:
            passed = merger.steps_absent + merger.steps_dead + merger.steps_idle
            spent = bill.ns(self.cost, merger.pages_scanned, passed)
        merger.cpu_ns += spent
        self.rows.append(self._row(time))
        return spent

    def _row(self, time: int) -> Row:
        return {"time_ns": time, **self.merger.counters()}


def naive_review_replay(
    trace: Trace,
    design: str,
    settings: dict[str, int | str],
    cost: CostProfile | None = None,
    asking: frozenset[int] = frozenset(),
) -> tuple[list[Row], Row]:
    """The columns of `samples` after every batch; and at the end, with the stores refused and what has no column."""
    replay = Replay(trace, design, settings, cost, asking)
    end = replay.run()
    return replay.rows, end
