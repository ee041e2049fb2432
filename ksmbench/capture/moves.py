"""Finds what mremap moved between two looks: mappings whose frames are elsewhere now, as their numbers tell."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ksmbench.capture.known import without
from ksmbench.capture.pagemap import Pages
from ksmbench.capture.procfs import Mapping

# Distances that are looked at, those of most pages first: frames that one mapping gave back and another got make many.
_DISTANCES = 64
_SAMPLE = 64  # pages whose bytes are compared

# Which of the pages now hold the bytes that those of before, at these rows of what is known, held.
Unchanged = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.bool_]]


class Move(NamedTuple):
    """Pages [start, end) are at [target, target + end - start) now."""

    start: int
    end: int
    target: int


class _Seen(NamedTuple):
    """Frames that are at another place now; one element each."""

    row: npt.NDArray[np.int64]  # of what was known
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]


def _single(pages: Pages) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    # The frames that one page alone maps (KSM's have many), ascending, and the rows of those pages.
    pfn, rows, counts = np.unique(pages.pfn, return_index=True, return_counts=True)
    alone = (counts == 1) & (pfn != 0)
    return pfn[alone], rows[alone]


def _seen(before: Pages, now: Pages) -> _Seen:
    old, old_rows = _single(before)
    new, new_rows = _single(now)
    _, in_old, in_new = np.intersect1d(old, new, assume_unique=True, return_indices=True)
    row, target = old_rows[in_old], now.page[new_rows[in_new]]
    elsewhere = before.page[row] != target
    row, target = row[elsewhere], target[elsewhere]
    return _Seen(row, before.page[row], target)


def _count(pages: npt.NDArray[np.int64], start: int, end: int) -> int:
    return int(np.searchsorted(pages, end) - np.searchsorted(pages, start))


def _stayed(before: Pages, now: Pages) -> npt.NDArray[np.int64]:
    # Pages that have their frame still.
    both, here, there = np.intersect1d(before.page, now.page, assume_unique=True, return_indices=True)
    result: npt.NDArray[np.int64] = both[(before.pfn[here] == now.pfn[there]) & (now.pfn[there] != 0)]
    return result


def _overlaps(
    sources: npt.NDArray[np.int64], distance: int, old: list[Mapping], new: list[Mapping]
) -> list[tuple[int, int]]:
    # The parts of old mappings with such pages that are, shifted, inside of one new mapping.
    result = []
    for m in old:
        if not _count(sources, m.start, m.end):
            continue
        for n in new:
            start, end = max(m.start, n.start - distance), min(m.end, n.end - distance)
            if start < end and _count(sources, start, end):
                result += _left(sources, Mapping(start, end, m.flags, m.name), new)
    return result


def _left(sources: npt.NDArray[np.int64], part: Mapping, new: list[Mapping]) -> list[tuple[int, int]]:
    # Without what is mapped there now and had no such page: a neighbour that looked like one mapping with it.
    parts = [part]
    for n in new:
        start, end = max(part.start, n.start), min(part.end, n.end)
        if start < end and not _count(sources, start, end):
            parts = without(parts, start, end)
    return [(p.start, p.end) for p in parts if _count(sources, p.start, p.end)]


def find_moves(old: list[Mapping], before: Pages, new: list[Mapping], now: Pages, unchanged: Unchanged) -> list[Move]:
    """Return the moves in an order in which they can be made.

    A part of a mapping was moved where at least half of its frames are at one distance and at least half of those that
    are compared hold their bytes still: frames that were given back and taken again rarely do both.
    """
    seen = _seen(before, now)
    if not len(seen.row):
        return []
    stayed = _stayed(before, now)
    known = before.page[before.pfn != 0]
    distances, counts = np.unique(seen.target - seen.source, return_counts=True)
    moves: list[Move] = []
    for distance in distances[np.argsort(-counts, kind="stable")][:_DISTANCES]:
        these = np.flatnonzero(seen.target - seen.source == distance)
        these = these[np.argsort(seen.source[these])]
        for start, end in _overlaps(seen.source[these], int(distance), old, new):
            move = Move(start, end, start + int(distance))
            inside = these[(seen.source[these] >= start) & (seen.source[these] < end)]
            sample = inside[:: max(1, len(inside) // _SAMPLE)][:_SAMPLE]
            if (
                2 * len(inside) >= _count(known, start, end)
                and end - start <= abs(int(distance))  # mremap refuses a target that overlaps
                and not _count(stayed, start, end)
                and not _count(stayed, move.target, move.target + end - start)
                and 2 * np.count_nonzero(unchanged(seen.target[sample], seen.row[sample])) >= len(sample)
                and not any(_cross(move, other) for other in moves)
            ):
                moves.append(move)
    return _in_order(moves)


def _cross(move: Move, other: Move) -> bool:
    # Whether they take from, or put to, one place.
    n, m = move.end - move.start, other.end - other.start
    return (move.start < other.end and other.start < move.end) or (
        move.target < other.target + m and other.target < move.target + n
    )


def _in_order(moves: list[Move]) -> list[Move]:
    # A move's target replaces what is there: first goes what leaves it. Those in a circle are left out.
    result: list[Move] = []
    left = list(moves)
    while left:
        free = [
            move
            for move in left
            if not any(
                other is not move and move.target < other.end and other.start < move.target + move.end - move.start
                for other in left
            )
        ]
        if not free:
            break
        result += free
        left = [move for move in left if move not in free]
    return result
