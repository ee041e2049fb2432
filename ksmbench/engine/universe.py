"""Which pages of each space can ever hold a frame, and which of them an event is about.

Page-table entries are kept densely: the pages of a space that can ever be present (its *universe*), in address order.
So a range of addresses, however large, is one contiguous range of entries, and memory follows the pages that occur.
The universe of a space is what its events write, touch, share or back by huge frames; plus what its parent's universe
holds (fork) and what moves to it. It also holds the first page at every edge of a mapping or an advice, present or
not, so that a mapping without any present page is still seen: it owns at least one entry.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.engine.jit import Integer, kernel
from ksmbench.trace.columns import Events
from ksmbench.trace.schema import PAGE_LIMIT, Kind

_FILLING = (Kind.WRITE, Kind.TOUCH, Kind.HUGE)
_EDGED = (Kind.MAP, Kind.UNMAP, Kind.MADVISE, Kind.MOVE)
Intervals = npt.NDArray[np.int64]  # [n, 2] disjoint, ascending, half open page ranges


@dataclass(frozen=True)
class Universe:
    """Sizes and places of entries; `first` and `last` are int64 [n_events] offsets within the event's space.

    `target` is the offset of a move's target. For fork and share, see `pairs`: int64 [n, 3] runs (offset in the
    acting space's universe, offset in the other's, entries), rows `pair_first[i] .. pair_first[i + 1]` for event i.
    """

    size: npt.NDArray[np.int64]  # [n_spaces] entries
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    pair_first: npt.NDArray[np.int64]  # [n_events + 1]
    pairs: npt.NDArray[np.int64]


def _merged(parts: Intervals) -> Intervals:
    # The union of intervals, as disjoint ascending ones.
    if len(parts) == 0:
        return parts.reshape(0, 2)
    parts = parts[np.argsort(parts[:, 0], kind="stable")]
    reach = np.maximum.accumulate(parts[:, 1])
    begins = np.ones(len(parts), bool)
    begins[1:] = parts[1:, 0] > reach[:-1]
    starts = parts[begins, 0]
    ends = reach[np.append(np.flatnonzero(begins)[1:] - 1, len(parts) - 1)]
    return np.column_stack([starts, ends])


def _clipped(parts: Intervals, low: int, high: int) -> Intervals:
    cut = np.clip(parts, low, high)
    return cut[cut[:, 0] < cut[:, 1]]


def _direct(events: Events, n_spaces: int) -> list[Intervals]:
    # What each space's own events say, all times together.
    fills = np.isin(events.kind, _FILLING)
    edges = np.isin(events.kind, _EDGED)
    ends = events.page + events.n_pages
    after = edges & (ends < PAGE_LIMIT)
    moves = events.kind == Kind.MOVE
    landed = moves & (events.value + events.n_pages < PAGE_LIMIT)
    space = np.concatenate([events.space[m] for m in (fills, edges, after, moves, landed)])
    start = np.concatenate(
        [
            events.page[fills],
            events.page[edges],
            ends[after],
            events.value[moves],
            (events.value + events.n_pages)[landed],
        ]
    )
    stop = start + 1
    stop[: int(fills.sum())] = ends[fills]
    order = np.argsort(space, kind="stable")
    rows = np.column_stack([start, stop])[order]
    bounds = np.searchsorted(space[order], np.arange(n_spaces + 1))
    return [_merged(rows[bounds[i] : bounds[i + 1]]) for i in range(n_spaces)]


def _derive(events: Events, own: list[Intervals]) -> None:
    # Forks, moves and shares hand pages on, in order of time.
    handing = np.flatnonzero(np.isin(events.kind, (Kind.FORK, Kind.MOVE, Kind.SHARE)))
    for row in handing:
        space, value = int(events.space[row]), int(events.value[row])
        page, count = int(events.page[row]), int(events.n_pages[row])
        if events.kind[row] == Kind.FORK:
            own[value] = _merged(np.concatenate([own[value], own[space]]))
        elif events.kind[row] == Kind.MOVE:
            moved = _clipped(own[space], page, page + count) + (value - page)
            own[space] = _merged(np.concatenate([own[space], moved]))
        else:
            shared = _clipped(own[value], page, page + count)
            own[space] = _merged(np.concatenate([own[space], shared]))


@kernel
def _offset(starts: Any, ends: Any, ranks: Any, low: Integer, high: Integer, page: Integer) -> Integer:
    # Entries below `page` in the space whose intervals are rows low .. high.
    base = low
    while low < high:
        middle = (low + high) >> 1
        if starts[middle] < page:
            low = middle + 1
        else:
            high = middle
    if low == base:
        return 0
    return ranks[low - 1] + min(page, ends[low - 1]) - starts[low - 1]


@kernel
def _locate(
    starts: Any, ends: Any, ranks: Any, pointer: Any, space: Any, page: Any, n_pages: Any, first: Any, last: Any
) -> None:
    for row in range(len(space)):
        low, high = pointer[space[row]], pointer[space[row] + 1]
        first[row] = _offset(starts, ends, ranks, low, high, page[row])
        last[row] = _offset(starts, ends, ranks, low, high, page[row] + n_pages[row])


def _ranks(parts: Intervals) -> npt.NDArray[np.int64]:
    # Entries before each interval of one space.
    lengths = parts[:, 1] - parts[:, 0]
    result: npt.NDArray[np.int64] = np.cumsum(lengths) - lengths
    return result


def _runs(mine: Intervals, other: Intervals, low: int, high: int) -> npt.NDArray[np.int64]:
    # Where the pages low .. high that both universes hold stand in each: (offset here, offset there, entries).
    here, there = _clipped(mine, low, high), _clipped(other, low, high)
    if len(here) == 0 or len(there) == 0:
        return np.zeros((0, 3), np.int64)
    cuts = np.unique(np.concatenate([here.ravel(), there.ravel()]))
    start, stop = cuts[:-1], cuts[1:]

    def position(parts: Intervals) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        at = np.searchsorted(parts[:, 0], start, side="right") - 1
        inside = (at >= 0) & (stop <= parts[at, 1])
        return inside, _ranks(parts)[at] + start - parts[at, 0]

    in_mine, offset_here = position(mine)
    in_other, offset_there = position(other)
    both = in_mine & in_other
    runs: npt.NDArray[np.int64] = np.column_stack([offset_here, offset_there, stop - start])[both]
    return runs


def find_universe(events: Events, n_spaces: int) -> Universe:
    """Find every space's universe and translate the events' page ranges into it."""
    own = _direct(events, n_spaces)
    _derive(events, own)
    sizes = np.array([int((parts[:, 1] - parts[:, 0]).sum()) for parts in own], np.int64)
    rows = np.concatenate(own) if own else np.zeros((0, 2), np.int64)
    ranks = np.concatenate([_ranks(parts) for parts in own]) if own else np.zeros(0, np.int64)
    pointer = np.concatenate([[0], np.cumsum([len(parts) for parts in own])]).astype(np.int64)
    starts, ends = np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])
    n_events = len(events.kind)
    first, last = np.zeros(n_events, np.int64), np.zeros(n_events, np.int64)
    if n_spaces:
        _locate(starts, ends, ranks, pointer, events.space, events.page, events.n_pages, first, last)
    pairs: list[npt.NDArray[np.int64]] = []
    n_pairs = np.zeros(n_events + 1, np.int64)
    for row in np.flatnonzero(np.isin(events.kind, (Kind.FORK, Kind.SHARE, Kind.MOVE))):
        space, value = int(events.space[row]), int(events.value[row])
        page, count = int(events.page[row]), int(events.n_pages[row])
        if events.kind[row] == Kind.FORK:
            runs = _runs(own[space], own[value], 0, PAGE_LIMIT)
        elif events.kind[row] == Kind.SHARE:
            runs = _runs(own[space], own[value], page, page + count)
        else:
            # From the old pages to the new ones, by looking at the targets as if they stood at the old addresses.
            shift = page - value
            runs = _runs(own[space], own[space] + shift, page, page + count)
        n_pairs[row + 1] = len(runs)
        pairs.append(runs)
    found = np.concatenate(pairs) if pairs else np.zeros((0, 3), np.int64)
    return Universe(sizes, first, last, np.cumsum(n_pairs), found)
