"""What a trace's spaces hold after some of its events, by the naive memory that shares no code with the engine."""

from dataclasses import dataclass, field

from ksmbench.designs.ksm.features import find_features
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from tests.naive.memory import Frame, Memory, Mm
from tests.naive.verbs import NoHooks, Verbs

_FEATURES = find_features((6, 18))
assert _FEATURES is not None


@dataclass
class Held:
    """Page by page: the content, which other pages have the same frame, its NUMA node, and the mapping's flags."""

    pages: dict[tuple[int, int], tuple[int, int, frozenset[tuple[int, int]]]] = field(default_factory=dict)
    areas: dict[tuple[int, int], tuple[int, bool, bool, bool]] = field(default_factory=dict)
    merges_any: dict[int, bool] = field(default_factory=dict)


class Player:
    """Plays a trace's events."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.memory = Memory(_FEATURES)
        self.verbs = Verbs(self.memory, NoHooks())
        events = trace.events
        children = set(events.value[events.kind == Kind.FORK].tolist())
        for space in range(len(trace.spaces)):
            if space not in children:
                self.memory.mms[space] = Mm(space)
        self.row = 0

    def play_until(self, time_ns: int) -> None:
        """All events up to this time, itself included."""
        events = self.trace.events
        while self.row < len(events.kind) and events.time_ns[self.row] <= time_ns:
            i = self.row
            if events.kind[i] != Kind.TUNE:
                cells = (events.kind, events.space, events.page, events.n_pages, events.value, events.node)
                self.verbs.apply(*(int(cell[i]) for cell in cells))
            self.row += 1

    def held(self, spaces: dict[int, int]) -> Held:
        """The state of the spaces, under the numbers that `spaces` gives them."""
        result = Held()
        for space, mm in self.memory.mms.items():
            if space not in spaces:
                continue
            number = spaces[space]
            result.merges_any[number] = bool(mm.merge_any)
            for page, area in mm.areas.items():
                result.areas[number, page] = (area.kind, area.mergeable, area.dontfork, area.wipeonfork)
            for page, frame in mm.table.items():
                if isinstance(frame, Frame):
                    users = frozenset((spaces[m.space], p) for m, p in frame.mappings if m.space in spaces)
                    result.pages[number, page] = (frame.content, frame.numa, users)
        return result
