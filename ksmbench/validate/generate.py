"""Scenarios from a seed: every verb that processes can play, every setting, few contents, batches that end anywhere.

A scenario knows what is mapped where, so that most of its events do something; some ranges are arbitrary. Batches are
counted in beats, one sleep of ksmd each: at least MIN_BATCHES of them find ksmd at work.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import HUGE_PAGES, Advice, Kind, Mapping
from ksmbench.validate.making import Row, make_contents, make_trace

MIN_BATCHES = 56
NEVER_PRUNE = 4294967295
_MAX_SPACES = 8
_FIRST_PAGE = 0x400000
_AREA_STEP = 0x1000  # pages from area to area
_ANCHOR = 8  # pages of area 0 of space 0, mergeable until ksmd has had its batches
_N_BLOCKS = 2  # huge blocks of area 3, where there is one

_ADVICE = (
    Advice.DONTNEED,
    Advice.DONTNEED,
    Advice.MERGEABLE,
    Advice.MERGEABLE,
    Advice.UNMERGEABLE,
    Advice.DONTFORK,
    Advice.DOFORK,
    Advice.WIPEONFORK,
    Advice.KEEPONFORK,
    Advice.HUGEPAGE,
    Advice.NOHUGEPAGE,
)
# What tune events store, refusals included; of these the ones that the design has, and a file that no kernel has.
_STORES: dict[str, tuple[int, ...]] = {
    "run": (0, 1, 2, 2, 3),
    "pages_to_scan": (1, 2, 5, 13, 40, 1000, -1),
    "sleep_millisecs": (10, 20, 20, 40),
    "max_page_sharing": (1, 2, 3, 4, 8),
    "use_zero_pages": (0, 1, 2),
    "smart_scan": (0, 1, 2),
    "stable_node_chains_prune_millisecs": (0, NEVER_PRUNE),
    "merge_across_nodes": (0, 1, 2),
    "advisor_mode": (0,),
    "advisor_max_cpu": (50, 70),
    "advisor_target_scan_time": (0, 100),
    "no_such_file": (1,),
}
# How often a verb is chosen, relative to the others.
_WEIGHTS: dict[Kind, float] = {
    Kind.WRITE: 40,
    Kind.MADVISE: 18,
    Kind.TOUCH: 8,
    Kind.READ: 5,
    Kind.MAP: 6,
    Kind.UNMAP: 3,
    Kind.MOVE: 4,
    Kind.FORK: 4,
    Kind.EXIT: 2,
    Kind.EXEC: 1.5,
    Kind.PRCTL: 2.5,
    Kind.MIGRATE: 0.7,
    Kind.HUGE: 6,
    Kind.TUNE: 5,
}
_Range = tuple[int, int, int]  # area, first page in it, count


@dataclass(frozen=True)
class Scenario:
    """A trace that processes can play, and the settings that it begins with."""

    name: str
    trace: Trace
    settings: dict[str, int]


class _Builder:
    """Writes events, and keeps a record of what is mapped."""

    def __init__(self, seed: int, known: Collection[str], n_nodes: int, without: Collection[Kind]) -> None:
        self.rng = np.random.default_rng([seed, 3])
        self.n_nodes = n_nodes
        self.without = without
        self.rows: list[Row] = []
        self.named: dict[int, int] = {}
        self.nodes: dict[int, int] = {}
        self.time = 0
        self.has_huge = self.rng.random() < 0.12
        self.area_pages = self.pick(64, 64, 64, 64, 300) if not self.has_huge else 64
        self.contents = make_contents(self.rng, int(self.rng.integers(3, 24)))
        self.mapped: dict[int, npt.NDArray[np.int8]] = {}  # space -> [areas, pages]: 0, or 1 + the mapping's kind
        self.kept: dict[int, npt.NDArray[np.bool_]] = {}  # the same: DONTFORK, not copied by a fork
        self.gone: set[int] = set()
        self.anchored = True
        self.sleep = 20
        self.run = 1
        self.names = tuple(name for name in _STORES if name in known or name == "no_such_file")
        self.tunes = self.rng.random() < 0.6
        self.kinds = [kind for kind in _WEIGHTS if self._applies(kind)]
        weights = np.array([_WEIGHTS[kind] for kind in self.kinds])
        self.odds = weights / weights.sum()

    def _applies(self, kind: Kind) -> bool:
        return {Kind.HUGE: self.has_huge, Kind.TUNE: self.tunes}.get(kind, True)

    def pick(self, *values: int) -> int:
        return int(self.rng.choice(values))

    def chance(self, part: float) -> bool:
        return bool(self.rng.random() < part)

    def add(self, kind: Kind, space: int, at: _Range | None = None, value: int = 0) -> None:
        if kind in self.without:
            return
        page, count = (_FIRST_PAGE + at[0] * _AREA_STEP + at[1], at[2]) if at else (0, 0)
        if self.n_nodes > 1 and kind in (Kind.WRITE, Kind.TOUCH, Kind.HUGE):
            self.nodes[len(self.rows)] = self.pick(*range(self.n_nodes))
        self.rows.append((self.time, int(kind), space, page, count, int(value)))

    def store(self, name: str, value: int) -> None:
        self.named[len(self.rows)] = self.names.index(name)
        self.add(Kind.TUNE, 0, value=value)
        if name == "run" and 0 <= value <= 2:
            self.run = value
        if name == "sleep_millisecs":
            self.sleep = value

    def new_space(self) -> int:
        space = len(self.mapped)
        self.mapped[space] = np.zeros((4, max(self.area_pages, _N_BLOCKS * HUGE_PAGES)), np.int8)
        self.kept[space] = np.zeros(self.mapped[space].shape, bool)
        return space

    def alive(self) -> list[int]:
        return [space for space in self.mapped if space not in self.gone]

    def place(self) -> _Range:
        """Any range of areas 1 and 2."""
        start = int(self.rng.integers(self.area_pages - 1))
        return self.pick(1, 2), start, int(self.rng.integers(1, self.area_pages - start + 1))

    def blocks(self) -> _Range:
        """Whole blocks of area 3."""
        first = int(self.rng.integers(_N_BLOCKS))
        return 3, first * HUGE_PAGES, HUGE_PAGES * int(self.rng.integers(1, _N_BLOCKS - first + 1))

    def run_of(self, space: int) -> _Range | None:
        """A run of mapped pages."""
        areas = [area for area in range(4) if self.mapped[space][area].any()]
        if not areas:
            return None
        area = self.pick(*areas)
        pages = np.flatnonzero(self.mapped[space][area])
        start = self.pick(*pages.tolist())
        limit = self.pick(1, 1, 2, 4, 8, 16, 64, 300)
        holes = np.flatnonzero(self.mapped[space][area, start : start + limit] == 0)
        end = int(holes[0]) if len(holes) else min(limit, self.mapped[space].shape[1] - start)
        return area, start, end

    def note(self, space: int, at: _Range, kind: int) -> None:
        area, start, count = at
        self.mapped[space][area, start : start + count] = kind
        self.kept[space][area, start : start + count] = False

    def map(self, space: int, at: _Range | None = None) -> None:
        at = at or self.place()
        anonymous = at[0] == 3 or self.chance(0.78)
        kind = Mapping.ANONYMOUS if anonymous else Mapping(self.pick(Mapping.FILE, Mapping.FILE, Mapping.NEVER))
        self.add(Kind.MAP, space, at, kind)
        self.note(space, at, 1 + kind)
        if self.chance(0.85):
            self.add(Kind.MADVISE, space, at, Advice.MERGEABLE)

    def event(self) -> None:
        """One random event."""
        if self.run != 1 and self.chance(0.3):
            self.store("run", 1)
        alive = self.alive()
        if not alive:
            return
        kind = self.kinds[int(self.rng.choice(len(self.kinds), p=self.odds))]
        space = self.pick(*alive)
        if kind == Kind.TUNE:
            name = self.names[int(self.rng.integers(len(self.names)))]
            self.store(name, self.pick(*_STORES[name]))
        elif kind in (Kind.FORK, Kind.EXIT, Kind.EXEC, Kind.PRCTL):
            self._whole(kind, space)
        else:
            self._ranged(kind, space)

    def _whole(self, kind: Kind, space: int) -> None:
        if kind == Kind.FORK and len(self.mapped) < _MAX_SPACES:
            child = self.new_space()
            self.mapped[child] = np.where(self.kept[space], np.int8(0), self.mapped[space])
            self.add(kind, space, value=child)
        elif kind == Kind.PRCTL and not (self.anchored and space == 0):
            self.add(kind, space, value=self.pick(0, 1, 1))
        elif kind in (Kind.EXIT, Kind.EXEC) and not (self.anchored and space == 0):
            self.add(kind, space)
            self.mapped[space][:] = 0
            self.kept[space][:] = False
            if kind == Kind.EXIT:
                self.gone.add(space)

    def _ranged(self, kind: Kind, space: int) -> None:
        at = self.run_of(space)
        if kind == Kind.MAP or at is None:
            self.map(space, self.blocks() if self.has_huge and self.chance(0.3) else None)
            return
        if self.chance(0.05) and kind not in (Kind.MOVE, Kind.HUGE):
            at = self.place()  # mapped or not
        if kind == Kind.HUGE or (at[0] == 3 and kind in (Kind.UNMAP, Kind.MADVISE, Kind.MOVE)):
            at = self.blocks()  # nothing splits the mappings of blocks
        is_anchor = self.anchored and space == 0 and at[0] == 0
        if kind == Kind.WRITE:
            zero = self.chance(0.15)
            self.add(kind, space, at, 0 if zero else int(self.rng.integers(len(self.contents.lcp))))
        elif kind == Kind.MADVISE:
            self._advise(space, at, is_anchor)
        elif kind == Kind.MIGRATE:
            self.add(kind, space, at, self.pick(*range(self.n_nodes)))
        elif kind == Kind.HUGE:
            area, start, count = at
            if (self.mapped[space][area, start : start + count] == 1 + Mapping.ANONYMOUS).all():
                self.add(kind, space, at)
        elif kind == Kind.UNMAP and not is_anchor:
            self.add(kind, space, at)
            self.note(space, at, 0)
        elif kind == Kind.MOVE and not is_anchor and at[0] != 3:
            self._move(space, at)
        elif kind in (Kind.TOUCH, Kind.READ):
            self.add(kind, space, at)

    def _advise(self, space: int, at: _Range, is_anchor: bool) -> None:
        area, start, count = at
        advice = self.pick(*_ADVICE)
        if advice == Advice.UNMERGEABLE and is_anchor:
            return
        if advice == Advice.DONTNEED and area == 3:
            start = int(self.rng.integers(start, start + count))
            at = area, start, min(count, int(self.rng.integers(1, 24)), self.mapped[space].shape[1] - start)
        self.add(Kind.MADVISE, space, at, advice)
        if advice in (Advice.DONTFORK, Advice.DOFORK):
            self.kept[space][area, start : start + count] = advice == Advice.DONTFORK

    def _move(self, space: int, at: _Range) -> None:
        area, start, count = at
        to = self.pick(1, 2)
        if to == area or count > self.area_pages:
            return
        place = int(self.rng.integers(self.area_pages - count + 1))
        self.add(Kind.MOVE, space, at, _FIRST_PAGE + to * _AREA_STEP + place)
        source, target = (area, slice(start, start + count)), (to, slice(place, place + count))
        self.mapped[space][target] = self.mapped[space][source]
        self.kept[space][target] = self.kept[space][source]
        self.mapped[space][source] = 0
        self.kept[space][source] = False

    def begin(self) -> None:
        """The first spaces, and what they hold."""
        for space in range(self.pick(1, 2, 3, 4)):
            self.new_space()
            if space == 0:
                self.add(Kind.MAP, 0, (0, 0, _ANCHOR))
                self.mapped[0][0, :_ANCHOR] = 1 + Mapping.ANONYMOUS
                self.add(Kind.MADVISE, 0, (0, 0, _ANCHOR), Advice.MERGEABLE)
            elif self.chance(0.15):
                self.add(Kind.PRCTL, space, value=1)
            if self.has_huge:
                self.map(space, (3, 0, _N_BLOCKS * HUGE_PAGES))
            self.map(space)
        for _ in range(int(self.rng.integers(6, 30))):
            self.event()

    def quieten(self) -> None:
        """Take back whatever asked for merging: ksmd finds nothing to do before long."""
        for space in self.alive():
            self.add(Kind.PRCTL, space, value=0)
            self.add(Kind.MADVISE, space, (0, 0, 4 * _AREA_STEP), Advice.UNMERGEABLE)

    def beats(self) -> None:
        """Sleeps of ksmd, with events before some of the batches."""
        wanted = int(self.rng.integers(MIN_BATCHES + 4, 110))
        busy = self.rng.random() * 0.8
        done, lasting, quiet = 1, self.chance(0.7), 0  # quiet: beats without events to come
        while done < wanted:
            before = self.time
            beat = self.sleep * 1_000_000
            self.time += beat // 2 if self.chance(0.5) else beat
            if not self.anchored and self.chance(0.1):
                self.quieten()
                quiet = 4
            quiet -= quiet > 0
            if not quiet and (self.chance(busy) or self.run != 1):
                for _ in range(int(self.rng.geometric(0.4))):
                    self.event()
            self.time = before + beat
            done += self.run == 1
            self.anchored = lasting or done < MIN_BATCHES
        self.add(Kind.MARK, 0)


def generate(seed: int, known: Collection[str], *, n_nodes: int = 1, without: Collection[Kind] = ()) -> Scenario:
    """The scenario of `seed` for a design that has the settings `known`, on a host of `n_nodes` NUMA nodes.

    Events of the kinds `without` are left out, as for a kernel that lacks a call.
    """
    b = _Builder(seed, known, n_nodes, without)
    settings = {
        "pages_to_scan": b.pick(1, 2, 3, 5, 7, 10, 20, 50, 100, 100_000),
        "smart_scan": b.pick(0, 0, 1),
        "use_zero_pages": b.pick(0, 1),
        "max_page_sharing": b.pick(2, 3, 4, 8, 256),
        "stable_node_chains_prune_millisecs": b.pick(0, NEVER_PRUNE),
        "merge_across_nodes": b.pick(0, 1),
        "run": b.pick(*[1] * 14, 0, 2) if "run" in known else 1,
    }
    if b.has_huge:
        settings["pages_to_scan"] = b.pick(100, 300, 700, 2000, 100_000)
    if settings["run"] != 1:
        b.tunes = True
        b.run = settings["run"]
    b.begin()
    b.beats()
    trace = make_trace(b.rows, b.contents, b.names, b.named, b.nodes)
    return Scenario(f"seed {seed}", trace, {name: value for name, value in settings.items() if name in known})
