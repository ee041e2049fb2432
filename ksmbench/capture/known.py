"""Pages and mappings as sorted lists: which are where, and what two lists have to do with each other."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ksmbench.capture.pagemap import HUGE_PAGES, PRESENT, Pages
from ksmbench.capture.procfs import Mapping


def places(
    known: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return where each wanted page stands among the known ones (both ascending), and whether it does."""
    place = np.searchsorted(known, wanted)
    found = np.zeros(len(wanted), np.bool_)
    within = place < len(known)
    found[within] = known[place[within]] == wanted[within]
    return np.where(found, place, 0), found


def inside(pages: npt.NDArray[np.int64], mappings: list[Mapping]) -> npt.NDArray[np.bool_]:
    """Return which of the pages lie in one of the mappings."""
    if not mappings or not len(pages):
        return np.zeros(len(pages), np.bool_)
    starts = np.array([m.start for m in mappings])
    ends = np.array([m.end for m in mappings])
    at = np.searchsorted(starts, pages, side="right") - 1
    result: npt.NDArray[np.bool_] = (at >= 0) & (pages < ends[at])
    return result


def huge_blocks(pages: Pages) -> npt.NDArray[np.int64]:
    """Return the first pages of the blocks that are huge as a whole."""
    # The pages ascend, so such a block's stand together.
    heads = np.flatnonzero(pages.huge & (pages.page % HUGE_PAGES == 0) & (pages.state == PRESENT))
    ends = heads + HUGE_PAGES
    heads, ends = heads[ends <= len(pages.page)], ends[ends <= len(pages.page)]
    n_huge = np.concatenate([[0], np.cumsum(pages.huge)])
    whole = (pages.page[ends - 1] - pages.page[heads] == HUGE_PAGES - 1) & (n_huge[ends] - n_huge[heads] == HUGE_PAGES)
    result: npt.NDArray[np.int64] = pages.page[heads[whole]]
    return result


def pieces(old: list[Mapping], new: list[Mapping]) -> list[tuple[int, int, Mapping | None, Mapping | None]]:
    """Return the address space cut at every boundary: (start, end, old mapping, new mapping), where there is one."""
    cuts = sorted({edge for m in (*old, *new) for edge in (m.start, m.end)})
    result = []
    i = k = 0
    for start, end in zip(cuts, cuts[1:], strict=False):
        while i < len(old) and old[i].end <= start:
            i += 1
        while k < len(new) and new[k].end <= start:
            k += 1
        before = old[i] if i < len(old) and old[i].start <= start else None
        after = new[k] if k < len(new) and new[k].start <= start else None
        if before or after:
            result.append((start, end, before, after))
    return result


def without(mappings: list[Mapping], start: int, end: int) -> list[Mapping]:
    """Return the mappings with pages [start, end) cut out."""
    result = []
    for m in mappings:
        if m.end <= start or end <= m.start:  # most of them, and a copy costs more than all else here
            result.append(m)
            continue
        if m.start < min(start, m.end):
            result.append(replace(m, end=min(start, m.end)))
        if max(end, m.start) < m.end:
            result.append(replace(m, start=max(end, m.start)))
    return result


def shifted(mappings: list[Mapping], start: int, end: int, distance: int) -> list[Mapping]:
    """Return the parts of the mappings in pages [start, end), `distance` pages further."""
    parts = [replace(m, start=max(start, m.start), end=min(end, m.end)) for m in mappings]
    return [replace(m, start=m.start + distance, end=m.end + distance) for m in parts if m.start < m.end]


def union(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges [start, end) in order, those that touch as one."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def within(pages: npt.NDArray[np.int64], ranges: list[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """Return which of the pages lie in one of the ranges, which `union` made."""
    bounds = np.array(ranges, np.int64).reshape(-1)
    result: npt.NDArray[np.bool_] = np.searchsorted(bounds, pages, side="right") % 2 == 1
    return result
