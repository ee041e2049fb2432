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
from ksmbench.errors import TraceError
from ksmbench.trace.columns import Events
from ksmbench.trace.schema import PAGE_LIMIT, Kind

_FILLING = (Kind.WRITE, Kind.TOUCH, Kind.HUGE)
_EDGED = (Kind.MAP, Kind.UNMAP, Kind.MADVISE, Kind.MOVE)
_MAX_INTERVALS = 1 << 23  # that forks and moves may add to those of the events; each move can double them
Intervals = npt.NDArray[np.int64]  # [n, 2] disjoint, ascending, half open page ranges


@dataclass(frozen=True)
class Universe:
    """Sizes and places of entries; `first` and `last` are int64 [n_events] offsets within the event's space.

    `target_first` and `target_last` are those of a move's target (0 for other verbs). For fork, share and move, see
    `pairs`: int64 [n, 3] runs (offset in the acting space's universe, offset in the other's or of the target, entries),
    rows `pair_first[i] .. pair_first[i + 1]` for event i.

    The child of a fork, and the target of a move, can hold pages that their source does not hold. Nothing is present
    there, but the mapping comes along: it is that of the nearest source entry before, since every edge of a mapping has
    one. `gaps`: int64 [n, 3] runs (that entry's offset, first offset in the child's or of the target, entries), rows
    `gap_first[i] .. gap_first[i + 1]`.
    """

    size: npt.NDArray[np.int64]  # [n_spaces] entries
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    target_first: npt.NDArray[np.int64]
    target_last: npt.NDArray[np.int64]
    pair_first: npt.NDArray[np.int64]  # [n_events + 1]
    pairs: npt.NDArray[np.int64]
    gap_first: npt.NDArray[np.int64]  # [n_events + 1]
    gaps: npt.NDArray[np.int64]


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
    held = sum(len(parts) for parts in own)
    limit = 8 * held + _MAX_INTERVALS
    for row in handing:
        if held > limit:
            raise TraceError(
                f"event {row}: forks and moves up to here spread over more than {limit:,} ranges of pages; "
                "record fewer spaces or a shorter time [E09]"
            )
        space, value = int(events.space[row]), int(events.value[row])
        page, count = int(events.page[row]), int(events.n_pages[row])
        receiver = value if events.kind[row] == Kind.FORK else space
        held -= len(own[receiver])
        if events.kind[row] == Kind.FORK:
            own[value] = _merged(np.concatenate([own[value], own[space]]))
        elif events.kind[row] == Kind.MOVE:
            moved = _clipped(own[space], page, page + count) + (value - page)
            own[space] = _merged(np.concatenate([own[space], moved]))
        else:
            shared = _clipped(own[value], page, page + count)
            own[space] = _merged(np.concatenate([own[space], shared]))
        held += len(own[receiver])


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


def _runs(
    mine: Intervals, other: Intervals, low: int, high: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    # Where the pages low .. high that both universes hold stand in each: (offset here, offset there, entries). And
    # where those stand that only the other holds: (offset of the last entry before them here, offset there, entries).
    here, there = _clipped(mine, low, high), _clipped(other, low, high)
    if len(here) == 0 or len(there) == 0:
        return np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64)
    cuts = np.unique(np.concatenate([here.ravel(), there.ravel()]))
    start, stop = cuts[:-1], cuts[1:]

    def position(parts: Intervals) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        # Whether each run is inside, and the entries before it.
        at = np.searchsorted(parts[:, 0], start, side="right") - 1
        inside = (at >= 0) & (stop <= parts[at, 1])
        below = _ranks(parts)[at] + np.minimum(start, parts[at, 1]) - parts[at, 0]
        return inside, np.where(at >= 0, below, 0)

    in_mine, offset_here = position(mine)
    in_other, offset_there = position(other)
    both = in_mine & in_other
    gap = ~in_mine & in_other & (offset_here > 0)
    runs: npt.NDArray[np.int64] = np.column_stack([offset_here, offset_there, stop - start])[both]
    gaps: npt.NDArray[np.int64] = np.column_stack([offset_here - 1, offset_there, stop - start])[gap]
    return runs, gaps


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
    first, last, target_first, target_last = (np.zeros(n_events, np.int64) for _ in range(4))
    if n_spaces:
        _locate(starts, ends, ranks, pointer, events.space, events.page, events.n_pages, first, last)
        target = np.where(events.kind == Kind.MOVE, events.value, 0)
        _locate(starts, ends, ranks, pointer, events.space, target, events.n_pages, target_first, target_last)
    pairs: list[npt.NDArray[np.int64]] = []
    gaps: list[npt.NDArray[np.int64]] = []
    n_pairs, n_gaps = np.zeros(n_events + 1, np.int64), np.zeros(n_events + 1, np.int64)
    for row in np.flatnonzero(np.isin(events.kind, (Kind.FORK, Kind.SHARE, Kind.MOVE))):
        space, value = int(events.space[row]), int(events.value[row])
        page, count = int(events.page[row]), int(events.n_pages[row])
        if events.kind[row] == Kind.FORK:
            runs, holes = _runs(own[space], own[value], 0, PAGE_LIMIT)
        elif events.kind[row] == Kind.SHARE:
            runs, holes = _runs(own[space], own[value], page, page + count)
            holes = holes[:0]  # sharing changes no mapping
        else:
            # From the old pages to the new ones, by looking at the targets as if they stood at the old addresses.
            shift = page - value
            runs, holes = _runs(own[space], own[space] + shift, page, page + count)
        n_pairs[row + 1], n_gaps[row + 1] = len(runs), len(holes)
        pairs.append(runs)
        gaps.append(holes)
    none = np.zeros((0, 3), np.int64)
    return Universe(
        size=sizes,
        first=first,
        last=last,
        target_first=target_first,
        target_last=target_last,
        pair_first=np.cumsum(n_pairs),
        pairs=np.concatenate([none, *pairs]),
        gap_first=np.cumsum(n_gaps),
        gaps=np.concatenate([none, *gaps]),
    )
