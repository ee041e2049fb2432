"""Offsets agree with plain sets of pages, on random events."""

import numpy as np
import pytest

from ksmbench.trace.columns import Events
from ksmbench.trace.schema import Kind
from ksmbench.trace.universe import find_universe


def random_events(rng: np.random.Generator, n: int, n_spaces: int) -> Events:
    kinds = (Kind.MAP, Kind.UNMAP, Kind.MADVISE, Kind.WRITE, Kind.TOUCH, Kind.MOVE, Kind.SHARE, Kind.FORK)
    kind = rng.choice(kinds, n).astype(np.uint8)
    space = rng.integers(0, n_spaces, n).astype(np.int32)
    page, n_pages = rng.integers(0, 60, n), rng.integers(1, 12, n)
    value = np.where(np.isin(kind, (Kind.SHARE, Kind.FORK)), rng.integers(0, n_spaces, n), rng.integers(0, 60, n))
    nothing = np.full(n, -1, np.int32)
    return Events(np.arange(n), kind, space, page, n_pages, value, np.zeros(n, np.uint8), nothing)


def naive_universe(events: Events, n_spaces: int) -> list[set[int]]:
    own: list[set[int]] = [set() for _ in range(n_spaces)]
    rows = [tuple(int(column[i]) for column in events[1:6]) for i in range(len(events.kind))]
    for kind, space, page, n_pages, value in rows:
        if kind in (Kind.WRITE, Kind.TOUCH):
            own[space] |= set(range(page, page + n_pages))
        elif kind in (Kind.MAP, Kind.UNMAP, Kind.MADVISE, Kind.MOVE):
            own[space] |= {page, page + n_pages}
        if kind == Kind.MOVE:
            own[space] |= {value, value + n_pages}
    for kind, space, page, n_pages, value in rows:
        inside = set(range(page, page + n_pages))
        if kind == Kind.FORK:
            own[value] |= own[space]
        elif kind == Kind.MOVE:
            own[space] |= {at + value - page for at in own[space] & inside}
        elif kind == Kind.SHARE:
            own[space] |= own[value] & inside
    return own


@pytest.mark.parametrize("seed", range(20))
def test_offsets_and_runs_agree_with_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    events = random_events(rng, int(rng.integers(0, 40)), 4)
    universe = find_universe(events, 4)
    own = [sorted(pages) for pages in naive_universe(events, 4)]
    assert universe.size.tolist() == [len(pages) for pages in own]
    for row in range(len(events.kind)):
        space, value = int(events.space[row]), int(events.value[row])
        page, end = int(events.page[row]), int(events.page[row] + events.n_pages[row])
        assert universe.first[row] == sum(at < page for at in own[space])
        assert universe.last[row] == sum(at < end for at in own[space])
        runs = universe.pairs[universe.pair_first[row] : universe.pair_first[row + 1]]
        got = [(here + i, there + i) for here, there, n in runs.tolist() for i in range(n)]
        here = range(page, end)
        expected = []
        if events.kind[row] == Kind.FORK:
            expected = [(own[space].index(at), own[value].index(at)) for at in own[space] if at in own[value]]
        elif events.kind[row] == Kind.SHARE:
            expected = [
                (own[space].index(at), own[value].index(at)) for at in here if at in own[value] and at in own[space]
            ]
        elif events.kind[row] == Kind.MOVE:
            moved = [(at, at + value - page) for at in here if at in own[space]]
            expected = [(own[space].index(at), own[space].index(to)) for at, to in moved if to in own[space]]
        assert got == expected


def test_a_huge_mapping_costs_one_entry_per_edge() -> None:
    huge = 1 << 51
    events = Events(
        np.array([0]),
        np.array([Kind.MAP], np.uint8),
        np.array([0], np.int32),
        np.array([0]),
        np.array([huge]),
        np.array([0]),
        np.zeros(1, np.uint8),
        np.full(1, -1, np.int32),
    )
    assert find_universe(events, 1).size.tolist() == [2]
