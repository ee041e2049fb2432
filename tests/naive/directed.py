"""Scenarios written for one rule each: the experiments E1 to E12 that the specification of KSM was settled by.

Most scan everything in each batch, so that batch k is full scan k.
"""

from collections.abc import Iterator

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind
from tests.kernel.scenarios import BATCH_NS, Row, make_contents, make_trace

FIRST_PAGE = 0x1000
NEVER_PRUNE = 4294967295
_STORES = ("run", "pages_to_scan", "sleep_millisecs", "max_page_sharing", "use_zero_pages", "smart_scan")

Scenario = tuple[str, Trace, dict[str, int]]


class Script:
    """A trace as it is told: events at the present time, which `wait` moves on."""

    def __init__(self, n_contents: int = 40) -> None:
        self.rows: list[Row] = []
        self.named: dict[int, int] = {}
        self.time = 0
        self.contents = make_contents(np.random.default_rng(n_contents), n_contents)

    def add(self, kind: Kind, space: int, page: int = 0, count: int = 0, value: int = 0) -> None:
        """Any event; pages count from the first of the area."""
        at = FIRST_PAGE + page if count else 0
        to = FIRST_PAGE + value if kind == Kind.MOVE else value
        self.rows.append((self.time, int(kind), space, at, count, to))

    def area(self, space: int, count: int, page: int = 0) -> None:
        """A mergeable mapping."""
        self.add(Kind.MAP, space, page, count)
        self.add(Kind.MADVISE, space, page, count, Advice.MERGEABLE)

    def write(self, space: int, page: int, content: int, count: int = 1) -> None:
        """Every page of the range gets the content."""
        self.add(Kind.WRITE, space, page, count, content)

    def drop(self, space: int, page: int, count: int = 1) -> None:
        """The pages become absent."""
        self.add(Kind.MADVISE, space, page, count, Advice.DONTNEED)

    def fork(self, space: int, child: int) -> None:
        """A child of the space."""
        self.add(Kind.FORK, space, value=child)

    def tune(self, name: str, value: int) -> None:
        """A store into a file of KSM's."""
        self.named[len(self.rows)] = _STORES.index(name)
        self.add(Kind.TUNE, 0, value=value)

    def wait(self, batches: float = 1) -> None:
        """Let that many sleeps of 20 ms pass."""
        self.time += int(batches * BATCH_NS)

    def end(self, name: str, **settings: int) -> Scenario:
        """The scenario, scanned whole in every batch and without smart scan unless said."""
        self.add(Kind.MARK, 0)
        whole = {"pages_to_scan": 100_000, "smart_scan": 0, "stable_node_chains_prune_millisecs": NEVER_PRUNE}
        return name, make_trace(self.rows, self.contents, _STORES, self.named), {**whole, **settings}


def _stores() -> Iterator[Scenario]:
    s = Script()
    s.area(0, 6)
    s.write(0, 0, 3, 6)
    for sleep in (100_000, 200_000, 200_000, 100_000, 50_000, 20):
        s.wait()
        s.tune("sleep_millisecs", sleep)
    for run, batches in ((0, 3.5), (1, 0.25), (0, 0.5), (1, 4), (2, 0.5), (2, 3), (1, 5), (2, 0.25), (1, 0.5), (3, 2)):
        s.tune("run", run)
        s.wait(batches)
    yield s.end("E1: stores of sleep_millisecs and run")
    s = Script()
    s.area(0, 8)
    s.write(0, 0, 3, 8)
    s.wait(4)
    s.fork(0, 1)
    s.add(Kind.EXIT, 0)
    s.tune("run", 0)
    s.wait(4)
    s.tune("run", 2)
    s.tune("max_page_sharing", 3)
    s.tune("run", 1)
    s.wait(5)
    s.tune("max_page_sharing", 4)
    s.wait(2)
    yield s.end("E13: run 0 and 2 after an exit, in the middle of a full scan", pages_to_scan=3)


def _visits() -> Iterator[Scenario]:
    for smart in (0, 1):
        s = Script()
        s.area(0, 8)
        s.write(0, 0, 3, 2)
        s.wait(4)
        s.write(0, 4, 3)
        s.wait(3)
        s.write(0, 0, 3)  # the same bytes
        s.wait(2)
        s.write(0, 0, 5, 5)  # nothing maps the frame any more
        s.wait(1)
        s.write(0, 0, 3, 5)
        s.wait(6)
        yield s.end(f"E2: visits of a page like a stable one, smart_scan {smart}", smart_scan=smart)
    s = Script()
    s.area(0, 1)
    s.write(0, 0, 7)
    s.wait(60)
    yield s.end("E3: a lone page", smart_scan=1)
    s = Script()
    s.area(0, 62)
    for d in range(31):
        for older in range(31):
            if d == 0:
                s.write(0, 2 * older, older + 1)
            if older == d:
                s.write(0, 2 * older + 1, older + 1)
        s.wait(1)
    s.wait(120)
    yield s.end("E3: twins created d full scans apart", smart_scan=1)


def _sharing() -> Iterator[Scenario]:
    sizes = [(256, n) for n in (255, 256, 257, 258, 512, 513, 514)]
    sizes += [(limit, n) for limit in (2, 3) for n in range(1, 11)]
    for limit, n in sizes:
        s = Script(6)
        s.area(0, n)
        s.write(0, 0, 4, n)
        s.wait(4)
        s.add(Kind.TOUCH, 0, 0, max(1, n // 3))
        s.wait(3)
        s.drop(0, n // 2, max(1, n // 4))
        s.wait(3)
        s.write(0, 0, 4, n)
        s.wait(4)
        for prune in (0, NEVER_PRUNE) if limit < 256 else (0,):
            name = f"E4: max_page_sharing {limit}, {n} equal pages, prune {prune}"
            yield s.end(name, max_page_sharing=limit, stable_node_chains_prune_millisecs=prune)
    for prune in (0, NEVER_PRUNE):
        s = Script()
        s.area(0, 40)
        s.write(0, 0, 4, 12)
        s.wait(4)
        for page, count in ((0, 1), (5, 2), (9, 1), (2, 1)):
            s.drop(0, page, count)
            s.wait(2)
            s.write(0, 12 + 3 * page % 20, 4, 2)
            s.wait(3)
        yield s.end(f"E11: which copy of a chain, prune {prune}", max_page_sharing=3)


def _forks() -> Iterator[Scenario]:
    for scan in (1, 2, 5, 100_000):
        s = Script()
        s.area(0, 10)
        s.write(0, 0, 3, 4)
        s.write(0, 5, 6, 2)
        s.wait(20 if scan < 10 else 4)
        s.fork(0, 1)
        s.wait(2)
        s.write(0, 0, 9, 4)  # only the child, not scanned yet, holds the frame: a node without items
        s.wait(2)
        s.write(0, 7, 3, 3)
        s.fork(1, 2)
        s.wait(6)
        s.add(Kind.TOUCH, 1, 0, 10)
        s.wait(8)
        yield s.end(f"E5: forks, {scan} pages per batch", pages_to_scan=scan, max_page_sharing=4)
    for scan in (1, 3, 7):
        s = Script()
        for space in range(4):
            s.area(space, 8)
            s.write(space, 0, 3, 4)
            s.write(space, 4, 5 + space, 2)
        s.wait(30)
        for space in (2, 0, 3):
            s.fork(space, space + 5)
            s.add(Kind.EXIT, space)
            s.area(4, 4, 100)
            s.write(4, 100, 6, 4)
            s.wait(3.5)
        s.add(Kind.EXIT, 5)
        s.add(Kind.EXIT, 7)
        s.add(Kind.EXIT, 8)
        s.wait(20)
        s.add(Kind.EXIT, 4)
        s.add(Kind.EXIT, 1)
        s.wait(20)
        yield s.end(f"E6: exits at the cursor and elsewhere, {scan} pages per batch", pages_to_scan=scan)


def _trees() -> Iterator[Scenario]:
    for space in (0, 1):
        s = Script()
        s.area(0, 32)
        s.area(1, 8)
        for k in range(15):
            s.write(0, 2 * k, 2 * k + 2, 2)
        s.wait(120)
        s.drop(0, 8, 14)
        s.write(space, 3 if space else 31, 17)
        s.wait(60)
        yield s.end(f"E7: stale nodes on an unrelated path, space {space}", pages_to_scan=1)
    for case in ("absent", "unmergeable", "rewritten", "exited"):
        s = Script()
        for member in range(3):
            s.area(member, 8)
            for k in range(6):
                s.write(member, k, 1 + 3 * k + member)
        s.wait(11)  # in the middle of the second full scan
        for k in (1, 3):
            if case == "absent":
                s.drop(0, k)
            elif case == "unmergeable":
                s.add(Kind.MADVISE, 0, k, 1, Advice.UNMERGEABLE)
            elif case == "rewritten":
                s.write(0, k, 39 - k)
        if case == "exited":
            s.add(Kind.EXIT, 0)
        s.wait(20)
        yield s.end(f"E8: members of the unstable tree, {case}", pages_to_scan=2)


def _addresses() -> Iterator[Scenario]:
    for zero in (0, 1):
        s = Script()
        s.area(0, 24)
        s.write(0, 0, 0, 6)
        s.write(0, 6, 3, 6)
        s.add(Kind.READ, 0, 12, 3)
        s.wait(4)
        s.add(Kind.UNMAP, 0, 4, 4)
        s.area(0, 4, 4)
        s.write(0, 4, 3, 3)
        s.wait(3)
        s.add(Kind.MOVE, 0, 0, 12, 200)
        s.wait(4)
        s.fork(0, 1)
        s.add(Kind.TOUCH, 0, 200, 4)
        s.add(Kind.READ, 1, 12, 12)
        s.wait(3)
        s.tune("use_zero_pages", 1 - zero)
        s.write(1, 203, 0, 7)
        s.wait(4)
        s.add(Kind.MADVISE, 1, 200, 12, Advice.UNMERGEABLE)
        s.wait(3)
        s.add(Kind.EXIT, 0)
        s.wait(3)
        yield s.end(f"E9: addresses used again, moves, zero pages with use_zero_pages {zero}", use_zero_pages=zero)


def _huge() -> Iterator[Scenario]:
    for name, zeros in (("equal", False), ("mostly zero", True)):
        s = Script(600)
        s.area(0, 1024)
        s.add(Kind.HUGE, 0, 0, 1024)
        if zeros:
            s.write(0, 3, 5, 2)
            s.write(0, 600, 5, 2)
        else:
            s.write(0, 0, 5, 512)
            for k in range(512):
                s.write(0, 512 + k, 20 + k)
        s.wait(5)
        s.write(0, 0, 5, 3)
        s.wait(4)
        yield s.end(f"E12: huge frames, {name}")


def directed() -> list[Scenario]:
    """Name, trace and settings of each."""
    makers = (_stores, _visits, _sharing, _forks, _trees, _addresses, _huge)
    return [scenario for make in makers for scenario in make()]
