"""Random scenarios as traces: few contents, many verbs, batches that end anywhere in a pass.

Space 0 keeps a mergeable mapping to the end, so that ksmd never idles and can be stepped through its sleep. Batch k
happens at k times 20 ms and sees the events up to then.
"""

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind
from ksmbench.validate.making import BATCH_NS, Row, make_contents, make_trace

__all__ = ["AREA_PAGES", "BATCH_NS", "Row", "huge_scenario", "make_contents", "make_trace", "random_scenario"]

AREA_PAGES = 64
_FIRST_AREA = 0x400000
_AREA_STEP = 0x1000
_N_AREAS = 3
_MAX_SPACES = 6


class _Builder:
    """Writes events that real processes can play: it knows what is mapped where."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.rows: list[Row] = []
        self.time = 0
        self.contents = make_contents(self.rng, int(self.rng.integers(3, 24)))
        self.mapped: dict[int, np.ndarray] = {}  # space -> bool [areas, pages]
        self.kept: dict[int, np.ndarray] = {}  # the same: DONTFORK, not copied by a fork
        self.exited: set[int] = set()
        self.next_space = 0

    def pick(self, *values: int) -> int:
        return int(self.rng.choice(values))

    def add(self, kind: int, space: int, page: int = 0, count: int = 0, value: int = 0) -> None:
        self.rows.append((self.time, int(kind), space, page, count, int(value)))

    def page(self, area: int, offset: int) -> int:
        return _FIRST_AREA + area * _AREA_STEP + offset

    def new_space(self) -> int:
        space = self.next_space
        self.next_space += 1
        self.mapped[space] = np.zeros((_N_AREAS, AREA_PAGES), bool)
        self.kept[space] = np.zeros((_N_AREAS, AREA_PAGES), bool)
        return space

    def advise_fork(self, space: int, area: int, page: int, start: int, count: int) -> None:
        advice = self.pick(Advice.DONTFORK, Advice.DOFORK, Advice.WIPEONFORK, Advice.KEEPONFORK)
        self.add(Kind.MADVISE, space, page, count, advice)
        if advice in (Advice.DONTFORK, Advice.DOFORK):
            self.kept[space][area, start : start + count] = advice == Advice.DONTFORK

    def map(self, space: int) -> None:
        area, start, count = self._place()
        self.add(Kind.MAP, space, self.page(area, start), count)
        self.mapped[space][area, start : start + count] = True
        self.kept[space][area, start : start + count] = False
        if self.rng.random() < 0.9:
            self.add(Kind.MADVISE, space, self.page(area, start), count, Advice.MERGEABLE)

    def _place(self) -> tuple[int, int, int]:
        area = int(self.rng.integers(1, _N_AREAS))
        start = int(self.rng.integers(AREA_PAGES - 1))
        return area, start, int(self.rng.integers(1, AREA_PAGES - start + 1))

    def run(self, space: int) -> tuple[int, int, int] | None:
        """A random run of mapped pages: area, first, count."""
        areas = [a for a in range(_N_AREAS) if self.mapped[space][a].any()]
        if not areas:
            return None
        area = self.pick(*areas)
        pages = np.flatnonzero(self.mapped[space][area])
        start = self.pick(*pages.tolist())
        count = 1
        limit = self.pick(1, 1, 2, 4, 8, 16, 64)
        while count < limit and start + count < AREA_PAGES and self.mapped[space][area, start + count]:
            count += 1
        return area, start, count

    def alive(self) -> list[int]:
        return [space for space in self.mapped if space not in self.exited]

    def event(self) -> None:
        """One random event."""
        space = self.pick(*self.alive())
        roll = self.rng.random()
        if roll < 0.05 and self.next_space < _MAX_SPACES:
            child = self.new_space()
            self.mapped[child] = self.mapped[space] & ~self.kept[space]
            self.add(Kind.FORK, space, value=child)
            return
        if roll < 0.075 and space != 0:
            self.add(Kind.EXIT, space)
            self.exited.add(space)
            return
        if roll < 0.12:
            self.map(space)
            return
        found = self.run(space)
        if found is None:
            self.map(space)
            return
        area, start, count = found
        page = self.page(area, start)
        if roll < 0.62:
            self.add(Kind.WRITE, space, page, count, int(self.rng.integers(len(self.contents.lcp))))
        elif roll < 0.72:
            self.add(Kind.TOUCH, space, page, count)
        elif roll < 0.77:
            self.add(Kind.READ, space, page, count)
        elif roll < 0.82:
            self.add(Kind.MADVISE, space, page, count, Advice.DONTNEED)
        elif roll < 0.88:
            self.add(Kind.MADVISE, space, page, count, Advice.MERGEABLE)
        elif roll < 0.91 and area != 0:
            self.add(Kind.MADVISE, space, page, count, Advice.UNMERGEABLE)
        elif roll < 0.93:
            self.advise_fork(space, area, page, start, count)
        elif roll < 0.96 and area != 0:
            self.add(Kind.UNMAP, space, page, count)
            self.mapped[space][area, start : start + count] = False
            self.kept[space][area, start : start + count] = False
        elif area != 0:
            self._move(space, area, start, count)

    def _move(self, space: int, area: int, start: int, count: int) -> None:
        target = 1 + area % (_N_AREAS - 1)
        place = int(self.rng.integers(AREA_PAGES - count + 1))
        if target == area:
            return
        self.add(Kind.MOVE, space, self.page(area, start), count, self.page(target, place))
        source, there = (area, slice(start, start + count)), (target, slice(place, place + count))
        self.kept[space][there] = self.kept[space][source]
        self.mapped[space][source] = self.kept[space][source] = False
        self.mapped[space][there] = True


def random_scenario(seed: int) -> tuple[Trace, dict[str, int], int]:
    """A trace, the settings, and the number of batches (64 to 120)."""
    b = _Builder(seed)
    settings = {
        "pages_to_scan": b.pick(1, 2, 3, 5, 7, 10, 20, 50, 100_000),
        "smart_scan": b.pick(0, 0, 1),
        "use_zero_pages": b.pick(0, 1),
        "max_page_sharing": b.pick(2, 3, 4, 256),
        "stable_node_chains_prune_millisecs": b.pick(0, 4294967295),
    }
    n_batches = int(b.rng.integers(64, 121))
    for _ in range(int(b.rng.integers(1, 4))):
        space = b.new_space()
        if space == 0:
            b.add(Kind.MAP, 0, b.page(0, 0), 8)
            b.mapped[0][0, :8] = True
            b.add(Kind.MADVISE, 0, b.page(0, 0), 8, Advice.MERGEABLE)
        b.map(space)
    for _ in range(int(b.rng.integers(4, 24))):
        b.event()
    busy = b.rng.random() * 0.8
    for batch in range(n_batches):
        b.time = batch * BATCH_NS - int(b.rng.integers(0, 2)) * (BATCH_NS // 2) * (batch > 0)
        if b.rng.random() < busy:
            for _ in range(int(b.rng.geometric(0.4))):
                b.event()
    b.time = (n_batches - 1) * BATCH_NS
    b.add(Kind.MARK, 0)
    return make_trace(b.rows, b.contents), settings, n_batches


def huge_scenario(seed: int) -> tuple[Trace, dict[str, int], int]:
    """The same with memory backed by huge frames: one area of two blocks of 2 MiB per process."""
    rng = np.random.default_rng([seed, 1])
    contents = make_contents(rng, int(rng.integers(3, 12)))
    settings = {
        "pages_to_scan": int(rng.choice([100, 300, 700, 2000, 100_000])),
        "smart_scan": int(rng.integers(2)),
        "use_zero_pages": int(rng.integers(2)),
        "max_page_sharing": int(rng.choice([3, 256])),
        "stable_node_chains_prune_millisecs": 0,
    }
    n_batches, base = 64, _FIRST_AREA
    rows: list[Row] = []
    spaces = list(range(int(rng.integers(1, 4))))

    def write(time: int, space: int, n: int) -> None:
        for _ in range(n):
            start = int(rng.integers(1024))
            count = int(min(rng.choice([1, 1, 3, 40]), 1024 - start))
            rows.append((time, Kind.WRITE, space, base + start, count, int(rng.integers(len(contents.lcp)))))

    def back(time: int, space: int) -> None:
        block = int(rng.integers(2))
        rows.append((time, Kind.HUGE, space, base + 512 * block, 512 * int(rng.integers(1, 3 - block)), 0))

    for space in spaces:
        rows += [(0, Kind.MAP, space, base, 1024, 0), (0, Kind.MADVISE, space, base, 1024, Advice.MERGEABLE)]
        write(0, space, int(rng.integers(5, 60)))
        back(0, space)
    for batch in range(1, n_batches):
        time, roll = batch * BATCH_NS, rng.random()
        space = int(rng.choice(spaces))
        if roll < 0.2:
            write(time, space, int(rng.integers(1, 8)))
        elif roll < 0.25:
            back(time, space)
        elif roll < 0.3:
            start = int(rng.integers(1000))
            rows.append((time, Kind.MADVISE, space, base + start, int(rng.integers(1, 24)), Advice.DONTNEED))
        elif roll < 0.34 and len(spaces) < 5:
            spaces.append(len(spaces))
            rows.append((time, Kind.FORK, space, 0, 0, spaces[-1]))
    rows.append(((n_batches - 1) * BATCH_NS, Kind.MARK, 0, 0, 0, 0))
    return make_trace(rows, contents), settings, n_batches
