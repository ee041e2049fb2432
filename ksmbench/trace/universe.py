"""Which pages of each space can ever hold a frame, and which of them an event is about.

Page-table entries are kept densely: the pages of a space that can ever be present (its *universe*), in address order.
So a range of addresses, however large, is one contiguous range of entries, and memory follows the pages that occur.
The universe of a space is what its events write, touch, share or back by huge frames; plus what its parent's universe
holds (fork) and what moves to it. It also holds the first page at every edge of a mapping or an advice, present or
not, so that a mapping without any present page is still seen: it owns at least one entry.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.errors import TraceError
from ksmbench.jit import Integer, kernel
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

    parts: list[Intervals]  # of each space
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
    if len(parts) < 2:
        return parts.reshape(-1, 2)
    parts = parts[np.argsort(parts[:, 0], kind="stable")]
    reach = np.maximum.accumulate(parts[:, 1])
    begins = np.ones(len(parts), bool)
    begins[1:] = parts[1:, 0] > reach[:-1]
    starts = parts[begins, 0]
    ends = reach[np.append(np.flatnonzero(begins)[1:] - 1, len(parts) - 1)]
    return np.column_stack([starts, ends])


def _clipped(parts: Intervals, low: int, high: int) -> Intervals:
    near = parts[_overlapping(parts, low, high)]
    return np.clip(near, low, high) if len(near) else near


def _overlapping(parts: Intervals, low: int, high: int) -> slice:
    # Which of disjoint ascending intervals hold a page of low .. high. A process may move memory often: nothing here
    # looks at all of them (as searchsorted would, which copies a column first).
    return slice(bisect_right(parts[:, 1], low), bisect_left(parts[:, 0], high))


def _joined(parts: Intervals, more: Intervals) -> Intervals:
    # The union of two sets of disjoint ascending intervals; the first is often long, the second short.
    if len(more) == 0:
        return parts
    touched = _overlapping(parts, int(more[0, 0]) - 1, int(more[-1, 1]) + 1)
    local = _merged(np.concatenate([parts[touched], more]))
    if np.array_equal(local, parts[touched]):
        return parts
    return np.concatenate([parts[: touched.start], local, parts[touched.stop :]])


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
            own[value] = _joined(own[value], own[space])
        elif events.kind[row] == Kind.MOVE:
            moved = _clipped(own[space], page, page + count) + (value - page)
            own[space] = _joined(own[space], moved)
        else:
            shared = _clipped(own[value], page, page + count)
            own[space] = _joined(own[space], shared)
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


@dataclass(frozen=True)
class _Held:
    """One space's universe with the entries before each interval."""

    parts: Intervals
    ranks: npt.NDArray[np.int64]

    def positions(
        self, start: npt.NDArray[np.int64], low: int, high: int
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Whether the universe holds the pages `start`, all of low .. high, and how many entries stand before them."""
        near = _overlapping(self.parts, low, high)
        begin = max(near.start - 1, 0)
        parts, ranks = self.parts[begin : near.stop], self.ranks[begin : near.stop]
        at = np.searchsorted(parts[:, 0], start, side="right") - 1
        inside = (at >= 0) & (start < parts[at, 1])
        below = ranks[at] + np.minimum(start, parts[at, 1]) - parts[at, 0]
        return inside, np.where(at >= 0, below, 0)


def _runs(
    mine: _Held, other: _Held, low: int, high: int, shift: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    # Where the pages low .. high of `mine`, and the same of `other` but `shift` higher up, stand where both hold them:
    # (offset here, offset there, entries). And where those stand that only the other holds: (offset of the last entry
    # before them here, offset there, entries).
    here, there = _clipped(mine.parts, low, high), _clipped(other.parts, low + shift, high + shift) - shift
    if len(here) == 0 or len(there) == 0:
        return np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64)
    cuts = np.unique(np.concatenate([here.ravel(), there.ravel()]))
    start, stop = cuts[:-1], cuts[1:]
    in_mine, offset_here = mine.positions(start, low, high)
    in_other, offset_there = other.positions(start + shift, low + shift, high + shift)
    both = in_mine & in_other
    gap = ~in_mine & in_other & (offset_here > 0)
    runs: npt.NDArray[np.int64] = np.column_stack([offset_here, offset_there, stop - start])[both]
    gaps: npt.NDArray[np.int64] = np.column_stack([offset_here - 1, offset_there, stop - start])[gap]
    return runs, gaps


def _all_runs(events: Events, held: list[_Held]) -> tuple[npt.NDArray[np.int64], ...]:
    # `pair_first`, `pairs`, `gap_first` and `gaps` of a Universe.
    n_pairs, n_gaps = (np.zeros(len(events.kind) + 1, np.int64) for _ in range(2))
    pairs, gaps = ([np.zeros((0, 3), np.int64)] for _ in range(2))
    for row in np.flatnonzero(np.isin(events.kind, (Kind.FORK, Kind.SHARE, Kind.MOVE))):
        space, value = int(events.space[row]), int(events.value[row])
        page, count = int(events.page[row]), int(events.n_pages[row])
        if events.kind[row] == Kind.FORK:
            runs, holes = _runs(held[space], held[value], 0, PAGE_LIMIT)
        elif events.kind[row] == Kind.SHARE:
            runs, holes = _runs(held[space], held[value], page, page + count)
            holes = holes[:0]  # sharing changes no mapping
        else:
            runs, holes = _runs(held[space], held[space], page, page + count, value - page)
        n_pairs[row + 1], n_gaps[row + 1] = len(runs), len(holes)
        pairs.append(runs)
        gaps.append(holes)
    return np.cumsum(n_pairs), np.concatenate(pairs), np.cumsum(n_gaps), np.concatenate(gaps)


def find_universe(events: Events, n_spaces: int) -> Universe:
    """Find every space's universe and translate the events' page ranges into it."""
    own = _direct(events, n_spaces)
    _derive(events, own)
    sizes = np.array([int((parts[:, 1] - parts[:, 0]).sum()) for parts in own], np.int64)
    rows = np.concatenate(own) if own else np.zeros((0, 2), np.int64)
    held = [_Held(parts, _ranks(parts)) for parts in own]
    ranks = np.concatenate([one.ranks for one in held]) if own else np.zeros(0, np.int64)
    pointer = np.concatenate([[0], np.cumsum([len(parts) for parts in own])]).astype(np.int64)
    starts, ends = np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])
    n_events = len(events.kind)
    first, last, target_first, target_last = (np.zeros(n_events, np.int64) for _ in range(4))
    if n_spaces:
        _locate(starts, ends, ranks, pointer, events.space, events.page, events.n_pages, first, last)
        target = np.where(events.kind == Kind.MOVE, events.value, 0)
        _locate(starts, ends, ranks, pointer, events.space, target, events.n_pages, target_first, target_last)
    pair_first, pairs, gap_first, gaps = _all_runs(events, held)
    return Universe(
        parts=own,
        size=sizes,
        first=first,
        last=last,
        target_first=target_first,
        target_last=target_last,
        pair_first=pair_first,
        pairs=pairs,
        gap_first=gap_first,
        gaps=gaps,
    )
