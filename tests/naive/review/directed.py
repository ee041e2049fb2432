"""Scenarios that chance does not make."""

from __future__ import annotations

import numpy as np

from ksmbench.trace.schema import Advice, Kind
from ksmbench.validate.making import Row, make_contents, make_trace
from tests.naive.review.scenarios import Scenario

_FIRST = 0x1000


def many_regions() -> Scenario:
    """More regions than devksm allows one mm: what was asked for after 1,024 is not scanned, until one is removed."""
    contents = make_contents(np.random.default_rng(1), 3)
    rows: list[Row] = [(0, Kind.MAP, 0, _FIRST, 2100, 0), (0, Kind.WRITE, 0, _FIRST, 2100, 1)]
    rows += [(0, Kind.MADVISE, 0, _FIRST + 2 * k, 1, Advice.MERGEABLE) for k in range(1030)]
    rows += [(400_000_000, Kind.MADVISE, 0, _FIRST + 10, 1, Advice.UNMERGEABLE)]
    rows += [(500_000_000, Kind.MADVISE, 0, _FIRST + 1, 2, Advice.MERGEABLE)]  # one page of it is free
    rows += [(500_000_000, Kind.MADVISE, 0, _FIRST + 2080, 20, Advice.MERGEABLE)]
    rows += [(900_000_000, Kind.EXIT, 0, 0, 0, 0), (1_000_000_000, Kind.MARK, 0, 0, 0, 0)]
    return Scenario(make_trace(rows, contents), {"pages_to_scan": 400}, frozenset())


def taken_back_by_a_child() -> Scenario:
    """Entries that a fork lost, whose items (if any) go because their addresses are not mergeable any more."""
    contents = make_contents(np.random.default_rng(2), 3)
    asked, taken_back = Advice.MERGEABLE, Advice.UNMERGEABLE
    rows: list[Row] = [(0, Kind.MAP, 0, _FIRST, 9, 0), (0, Kind.MADVISE, 0, _FIRST, 9, asked)]
    rows += [(0, Kind.WRITE, 0, _FIRST, 6, 1), (0, Kind.WRITE, 0, _FIRST + 6, 3, 2)]
    rows += [(200_000_000, Kind.FORK, 0, 0, 0, 1), (210_000_000, Kind.MADVISE, 1, _FIRST, 9, asked)]
    rows += [(400_000_000, Kind.MADVISE, 1, _FIRST + 4, 4, taken_back)]
    rows += [(500_000_000, Kind.MADVISE, 0, _FIRST + 5, 2, taken_back)]
    rows += [(600_000_000, Kind.MOVE, 1, _FIRST + 3, 2, _FIRST + 100), (700_000_000, Kind.MARK, 0, 0, 0, 0)]
    return Scenario(make_trace(rows, contents), {"pages_to_scan": 20}, frozenset())


def index_bug_at_edges(pages_to_scan: int, first_region: int) -> Scenario:
    """The lost index where a pass or the list begins, and batches of no step at all."""
    contents = make_contents(np.random.default_rng(3), 3)
    rows: list[Row] = []
    for space, count in enumerate((first_region, 1, 23)):
        rows += [(0, Kind.MAP, space, _FIRST, count, 0), (0, Kind.MADVISE, space, _FIRST, count, Advice.MERGEABLE)]
        rows += [(0, Kind.WRITE, space, _FIRST, count, 1 + space % 2)]
    named = {}
    for time, value in ((100, 0), (200, 3), (400, 0), (450, 24), (600, 1), (700, 40)):
        named[len(rows)] = 0
        rows.append((time * 1_000_000, Kind.TUNE, 0, 0, 0, value))
        rows.append((time * 1_000_000 + 50, Kind.WRITE, 2, _FIRST + 3, 1, 2))
    rows.append((900_000_000, Kind.MARK, 0, 0, 0, 0))
    trace = make_trace(rows, contents, ("pages_to_scan",), named)
    return Scenario(trace, {"pages_to_scan": pages_to_scan, "index_bug": 1}, frozenset())


def travelling(seed: int) -> Scenario:
    """One mm whose few pages move to and fro in the middle of passes, onto others and away from absent ones."""
    rng = np.random.default_rng([seed, 4])
    contents = make_contents(rng, 5)
    rows: list[Row] = [(0, Kind.MAP, 0, _FIRST, 40, 0), (0, Kind.MADVISE, 0, _FIRST, 40, Advice.MERGEABLE)]
    rows += [(0, Kind.WRITE, 0, _FIRST + k, 1, int(rng.integers(5))) for k in range(32)]
    for batch in range(1, 160):
        time = batch * 20_000_000 - 1
        for _ in range(int(rng.integers(3)) if batch % 30 > 12 else 0):
            page, to = (_FIRST + int(rng.integers(36)) for _ in range(2))
            count, roll = int(rng.choice([1, 2, 4])), rng.random()
            if roll < 0.5:
                rows.append((time, Kind.MOVE, 0, page, count, to))
                rows.append((time, Kind.MAP, 0, page, count, 0))
                rows.append((time, Kind.MADVISE, 0, page, count, Advice.MERGEABLE))
            elif roll < 0.7:
                rows.append((time, Kind.MADVISE, 0, page, count, Advice.DONTNEED))
            else:
                rows.append((time, Kind.WRITE, 0, page, count, int(rng.integers(5))))
    rows.append((160 * 20_000_000, Kind.MARK, 0, 0, 0, 0))
    callbacks = ("mremap", "mremap,munmap", "none", "fork,exit,mremap")[seed % 4]
    pages_to_scan = (4, 6, 9)[seed // 4 % 3]
    settings = {"pages_to_scan": pages_to_scan, "callbacks": callbacks}
    return Scenario(make_trace(rows, contents), settings, frozenset())


def outside_at_a_fork(seed: int) -> Scenario:
    """Pairs whose insertion fails, as most of the stable tree is dropped right before; then a fork, and another."""
    rng = np.random.default_rng([seed, 5])
    contents = make_contents(rng, 60)
    rows: list[Row] = [(0, Kind.MAP, 0, _FIRST, 96, 0), (0, Kind.MADVISE, 0, _FIRST, 96, Advice.MERGEABLE)]
    rows += [(0, Kind.WRITE, 0, _FIRST + k, 1, k // 2 * 2) for k in range(60)]
    rows += [(0, Kind.WRITE, 0, _FIRST + k, 1, (k - 1) // 2 * 2) for k in range(1, 60, 2)]
    time = 1_000_000_000  # after passes of 160 ms
    rows += [(time, Kind.WRITE, 0, _FIRST + 60 + k, 1, 1 + k // 2 * 2) for k in range(36)]
    time += 20_000_000 * int(rng.integers(8, 16))
    rows.append((time, Kind.MADVISE, 0, _FIRST, 60, Advice.DONTNEED))
    time += 20_000_000 * int(rng.integers(1, 12))
    rows += [(time, Kind.FORK, 0, 0, 0, 1), (time + 70_000_000, Kind.FORK, 1, 0, 0, 2)]
    rows += [
        (time + 90_000_000, Kind.WRITE, 0, _FIRST + 60, 36, 3),
        (time + 200_000_000, Kind.TOUCH, 1, _FIRST + 70, 9, 0),
    ]
    rows += [(time + 300_000_000, Kind.EXIT, 0, 0, 0, 0), (time + 900_000_000, Kind.MARK, 0, 0, 0, 0)]
    callbacks = ("fork", "fork,exit", "fork,munmap", "none")[seed % 4]
    return Scenario(make_trace(rows, contents), {"pages_to_scan": 12, "callbacks": callbacks}, frozenset())


def shared_where_nothing_asked() -> Scenario:
    """A mapping that is not mergeable gets merged frames by `share`; MADV_UNMERGEABLE of it breaks nothing."""
    contents = make_contents(np.random.default_rng(6), 3)
    rows: list[Row] = [(0, Kind.MAP, 0, _FIRST, 9, 0), (0, Kind.MADVISE, 0, _FIRST, 9, Advice.MERGEABLE)]
    rows += [(0, Kind.WRITE, 0, _FIRST, 9, 1), (0, Kind.MAP, 1, _FIRST, 9, 0)]
    rows += [(0, Kind.MADVISE, 1, _FIRST, 3, Advice.MERGEABLE), (200_000_000, Kind.SHARE, 1, _FIRST, 9, 0)]
    rows += [(300_000_000, Kind.MADVISE, 1, _FIRST + 1, 7, Advice.UNMERGEABLE), (400_000_000, Kind.MARK, 0, 0, 0, 0)]
    return Scenario(make_trace(rows, contents), {"pages_to_scan": 30}, frozenset())


def stopped(seed: int) -> Scenario:
    """Everything is unmerged and begins again in the middle of passes; single pages are taken back in between."""
    rng = np.random.default_rng([seed, 7])
    contents = make_contents(rng, 7)
    rows: list[Row] = []
    named = {}
    for space in range(3):
        rows += [(0, Kind.MAP, space, _FIRST, 30, 0), (0, Kind.MADVISE, space, _FIRST, 20, Advice.MERGEABLE)]
        rows += [(0, Kind.WRITE, space, _FIRST + k, 1, int(rng.integers(7))) for k in range(20)]
    rows.append((300_000_000, Kind.SHARE, 1, _FIRST, 30, 0))
    for batch in range(10, 120):
        time, space, page = batch * 20_000_000 - 1, int(rng.integers(3)), _FIRST + int(rng.integers(26))
        roll = rng.random()
        if roll < 0.06:
            named |= {len(rows): 0, len(rows) + 1: 0}
            rows += [(time, Kind.TUNE, 0, 0, 0, 2), (time + 30_000_000 * int(rng.integers(2)), Kind.TUNE, 0, 0, 0, 1)]
        elif roll < 0.3:
            rows.append((time, Kind.MADVISE, space, page, 1, Advice.UNMERGEABLE))
        elif roll < 0.4:
            rows.append((time, Kind.MADVISE, space, page, 4, Advice.MERGEABLE))
        elif roll < 0.5:
            rows.append((time, Kind.SHARE, space, _FIRST + 16, 8, (space + 1) % 3))
        elif roll < 0.6:
            rows.append((time, Kind.WRITE, space, page, 2, int(rng.integers(7))))
    order = sorted(range(len(rows)), key=lambda i: rows[i][0])
    named = {place: 0 for place, i in enumerate(order) if i in named}
    rows = [*(rows[i] for i in order), (2_500_000_000, Kind.MARK, 0, 0, 0, 0)]
    return Scenario(make_trace(rows, contents, ("run",), named), {"pages_to_scan": 7}, frozenset())
