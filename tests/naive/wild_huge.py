"""Wild scenarios with huge frames: three blocks of 2 MiB per space, and everything that can tear one."""

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import HUGE_PAGES, Advice, Kind
from tests.kernel.scenarios import BATCH_NS, Row, make_contents, make_trace

_FIRST = 0x400000
_N_BLOCKS = 3
_N_PAGES = _N_BLOCKS * HUGE_PAGES
_N_SPACES = 5
_N_BATCHES = 27
_ADVICE = (4, 4, Advice.DONTFORK, Advice.DOFORK, Advice.MERGEABLE, Advice.UNMERGEABLE, Advice.WIPEONFORK)


class _WildHuge:
    """Writes events without a record of what is mapped."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 2])
        self.contents = make_contents(self.rng, int(self.rng.integers(3, 8)))
        self.rows: list[Row] = []
        self.time = 0
        self.alive = [0]
        self.n_spaces = 1

    def pick(self, *values: int) -> int:
        return int(self.rng.choice(values))

    def add(self, kind: Kind, space: int, page: int = 0, count: int = 0, value: int = 0) -> None:
        self.rows.append((self.time, int(kind), space, page, count, int(value)))

    def block(self) -> int:
        """The first page of a block."""
        return _FIRST + HUGE_PAGES * int(self.rng.integers(_N_BLOCKS))

    def event(self) -> None:
        """One event."""
        if not self.alive:
            return
        space = self.pick(*self.alive)
        start = int(self.rng.integers(_N_PAGES))
        page, count = _FIRST + start, min(self.pick(1, 1, 3, 40, HUGE_PAGES), _N_PAGES - start)
        roll = int(self.rng.integers(16))
        if roll < 4:
            self.add(Kind.WRITE, space, page, min(count, 40), int(self.rng.integers(len(self.contents.lcp))))
        elif roll < 7:
            self.add(Kind.HUGE, space, self.block() - self.pick(0, 3), HUGE_PAGES + self.pick(0, 6))
        elif roll == 7:
            self.add(Kind.MADVISE, space, page, count, self.pick(*_ADVICE))
        elif roll == 8 and self.n_spaces < _N_SPACES:
            self.add(Kind.FORK, space, value=self.n_spaces)
            self.alive.append(self.n_spaces)
            self.n_spaces += 1
        elif roll == 9:
            self.add(Kind.MOVE, space, self.block(), self.pick(30, HUGE_PAGES), self.block() + self.pick(0, 0, 7))
        elif roll == 10:
            self.add(Kind.MAP, space, page, count, self.pick(0, 0, 0, 1, 2))
            self.add(Kind.MADVISE, space, page, count, Advice.MERGEABLE)
        elif roll == 11:
            self.add(Kind.SHARE, space, page, count, self.pick(*self.alive))
        elif roll == 12:
            self.add(Kind.SWAPOUT, space, page, min(count, 20))
        elif roll == 13:
            self.add(Kind.TOUCH, space, page, count)
        elif roll == 14 and self.rng.random() < 0.3:
            self.add(Kind.EXIT, space)
            self.alive.remove(space)
        elif self.rng.random() < 0.5:
            self.add(Kind.UNMAP, space, page, count)
        else:
            self.add(Kind.PRCTL, space, value=self.pick(0, 1))


def wild_huge_scenario(seed: int) -> tuple[Trace, dict[str, int]]:
    """A trace of about half a second, and the settings."""
    b = _WildHuge(seed)
    settings = {
        "pages_to_scan": b.pick(300, 700, 100_000),
        "smart_scan": b.pick(0, 1),
        "use_zero_pages": b.pick(0, 1),
        "max_page_sharing": b.pick(2, 3, 256),
        "stable_node_chains_prune_millisecs": 0,
    }
    b.add(Kind.MAP, 0, _FIRST, _N_PAGES)
    b.add(Kind.MADVISE, 0, _FIRST, _N_PAGES, Advice.MERGEABLE)
    for _ in range(int(b.rng.integers(3, 12))):
        b.event()
    for batch in range(1, _N_BATCHES):
        b.time = batch * BATCH_NS
        if b.rng.random() < 0.4:
            for _ in range(int(b.rng.geometric(0.5))):
                b.event()
    b.add(Kind.MARK, 0)
    return make_trace(b.rows, b.contents), settings
