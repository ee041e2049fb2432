"""A trace's memory without any merging, event by event, and what each page's mapping is.

It is the memory that the design `none` has; on top of it stands what no design needs to know, and a cut must keep: the
`map` event that each page's mapping comes from, which tells its name, and its advice about huge pages and merging.
"""

import numpy as np
import numpy.typing as npt

from ksmbench.engine import machine as at
from ksmbench.engine.columns import pinned
from ksmbench.engine.machine import Machine, Vector
from ksmbench.engine.memory import add_memory
from ksmbench.engine.plan import make_plan
from ksmbench.engine.verbs import apply
from ksmbench.jit import Integer, kernel
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind

_BYTES_PER_ENTRY = 90  # with what this module adds
_PIECE = 20_000  # events between two moments for Python
_HANDING = (Kind.FORK, Kind.MOVE)


@kernel
def _play(vector: Vector, start: Integer, stop: Integer) -> None:
    m = pinned(vector)
    for i in range(start, stop):
        apply(m, i)


class Memory:
    """The state before event `row`; entries are page-table entries, in order of address within each space."""

    def __init__(self, trace: Trace, max_memory: int) -> None:
        plan = make_plan(trace, max_memory=max_memory, bytes_per_entry=_BYTES_PER_ENTRY)
        machine = Machine()
        plan.load(machine)
        add_memory(machine, plan.n_entries, plan.n_mms, plan.n_folios)
        self.row = 0
        self.pages = plan.pages()  # int64 [n_entries]
        self.frame: npt.NDArray[np.int32] = machine[at.FRAME]  # [n_entries], below 0: absent
        self.flags: npt.NDArray[np.uint8] = machine[at.FLAGS]  # [n_entries], see engine.memory
        self.content: npt.NDArray[np.int32] = machine[at.CONTENT]  # [n_frames]
        self.node: npt.NDArray[np.uint8] = machine[at.NUMA]  # [n_frames]
        self.folio: npt.NDArray[np.int32] = machine[at.FOLIO]  # [n_frames], below 0: a small frame
        self.folio_frames: npt.NDArray[np.int32] = machine[at.FOLIO_FRAMES]
        self.mapcount: npt.NDArray[np.int32] = machine[at.MAPCOUNT]  # [n_frames]
        self.mapped_by = np.full(plan.n_entries, -1, np.int32)  # row of the `map` event
        self.thp = np.zeros(plan.n_entries, np.int8)  # HUGEPAGE, NOHUGEPAGE or 0
        self.asked = np.zeros(plan.n_entries, np.int8)  # MERGEABLE, UNMERGEABLE or 0: what madvise said last
        self._machine = machine
        self._mm = np.arange(len(trace.spaces))  # of each space
        events = trace.events
        kept = (Advice.HUGEPAGE, Advice.NOHUGEPAGE, Advice.MERGEABLE, Advice.UNMERGEABLE)
        advice = (events.kind == Kind.MADVISE) & np.isin(events.value, kept)
        marked = advice | np.isin(events.kind, (Kind.MAP, Kind.EXEC, *_HANDING))
        self._marked = np.flatnonzero(marked)
        self._events = events

    def entries(self, space: int) -> slice:
        """The entries of a space."""
        mm = self._mm[space]
        return slice(int(self._machine[at.BASE][mm]), int(self._machine[at.END][mm]))

    def space_of(self, entries: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The space of each entry."""
        mm = np.searchsorted(self._machine[at.BASE], entries, side="right") - 1
        result: npt.NDArray[np.int64] = self._machine[at.SPACE][mm].astype(np.int64)
        return result

    def is_alive(self, space: int) -> bool:
        """Whether the space was born and has not exited."""
        return bool(self._machine[at.ALIVE][self._mm[space]])

    def merges_any(self, space: int) -> bool:
        """Whether PR_SET_MEMORY_MERGE is on."""
        return bool(self._machine[at.MERGE_ANY][self._mm[space]])

    def play(self, stop: int) -> None:
        """Apply the events up to row `stop`."""
        low, high = np.searchsorted(self._marked, (self.row, stop))
        for row in self._marked[low:high].tolist():
            self._play(row)
            self._play_marked(row)
        self._play(stop)

    def _play(self, stop: int) -> None:
        while self.row < stop:
            end = min(stop, self.row + _PIECE)
            _play(self._machine.m, self.row, end)
            self.row = end

    def _play_marked(self, row: int) -> None:
        machine = self._machine
        first, last = int(machine[at.FIRST][row]), int(machine[at.LAST][row])
        kind = self._events.kind[row]
        if kind == Kind.MAP:
            self.mapped_by[first:last] = row
            self.thp[first:last] = 0
            self.asked[first:last] = 0
        elif kind == Kind.MADVISE:
            advice = self._events.value[row]
            column = self.asked if advice in (Advice.MERGEABLE, Advice.UNMERGEABLE) else self.thp
            column[first:last] = advice
        elif kind == Kind.EXEC:
            self._mm[self._events.space[row]] = machine[at.VALUE][row]
        elif kind == Kind.FORK or self._moves(row, first, last):
            self._hand_on(row)
        self._play(row + 1)

    def _moves(self, row: int, first: int, last: int) -> bool:
        # As the engine decides: mremap refuses overlapping ranges, and what is not mapped does not move.
        there, end = int(self._machine[at.TARGET_FIRST][row]), int(self._machine[at.TARGET_LAST][row])
        return not (there < last and first < end) and bool(self.flags[first:last].any())

    def _hand_on(self, row: int) -> None:
        machine = self._machine
        low, high = machine[at.PAIR_FIRST][row : row + 2]
        for here, there, n in machine[at.PAIRS].reshape(-1, 3)[low:high].tolist():
            for column in (self.mapped_by, self.thp, self.asked):
                column[there : there + n] = column[here : here + n].copy()
        low, high = machine[at.GAP_FIRST][row : row + 2]
        for here, there, n in machine[at.GAPS].reshape(-1, 3)[low:high].tolist():
            for column in (self.mapped_by, self.thp, self.asked):
                column[there : there + n] = column[here]
