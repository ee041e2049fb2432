"""Dumps of one address space, one after the other, as the events that lead from each to the next."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ksmbench.errors import UsageError
from ksmbench.imports.dump import Area, Dump, read_pages
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.rows import Rows
from ksmbench.trace.schema import Advice, Kind, Mapping

ZEROES = ("frames", "read", "absent")  # what a page of zeros is: a frame, the kernel's zero page, nothing
_ZERO_PAGE = -1  # in place of a content: the kernel's zero page
Numbers = npt.NDArray[np.int64]
Told = Callable[[int], None]  # told how many bytes were read


def _no_pages() -> Numbers:
    return np.zeros(0, np.int64)


@dataclass
class Timeline:
    """One space; `contents` are provisional numbers of the store."""

    space: int
    rows: Rows
    store: ContentStore
    zeroes: str
    asks: bool  # every mapping is advised MERGEABLE
    areas: list[Area] = field(default_factory=list)
    pages: Numbers = field(default_factory=_no_pages)  # ascending
    contents: Numbers = field(default_factory=_no_pages)
    is_first: bool = True

    def add(self, time_ns: int, dump: Dump, told: Told | None = None) -> None:
        """The next dump."""
        pages, contents = self._load(dump, told)
        pages, contents = self._with_former(dump, pages, contents)
        contents = self._keep_zero_pages(pages, contents)
        self._remap(time_ns, dump.areas)
        self._change(time_ns, pages, contents)
        self.areas, self.pages, self.contents = dump.areas, pages, contents
        self.is_first = False

    def _load(self, dump: Dump, told: Told | None) -> tuple[Numbers, Numbers]:
        numbers: list[Numbers] = [_no_pages()]
        ids: list[Numbers] = [_no_pages()]
        for pages, data in read_pages(dump):
            numbers.append(pages)
            ids.append(self.store.add(data))
            if told is not None:
                told(data.nbytes)
        page, content = np.concatenate(numbers), np.concatenate(ids)
        order = np.argsort(page, kind="stable")
        page, content = page[order], content[order]
        last = np.append(page[1:] != page[:-1], True)[: len(page)]  # a page that two ranges have parts of
        kept = last & _inside(page, [area for area in dump.areas if area.kind != Mapping.NEVER])
        if self.zeroes == "absent" and not dump.builds_on_former:
            kept &= content != 0
        page, content = page[kept], content[kept]
        if self.zeroes == "read":
            content = np.where(content == 0, _ZERO_PAGE, content)
        return page, content

    def _with_former(self, dump: Dump, pages: Numbers, contents: Numbers) -> tuple[Numbers, Numbers]:
        # Adds what is as it was.
        if self.is_first and dump.unchanged:
            raise UsageError(f"{dump.name}: its first dump builds on an earlier one; give that first, with --at")
        former = np.isin(self.pages, pages, invert=True)
        if dump.builds_on_former:
            former &= _inside(self.pages, dump.areas)
        else:
            former &= _inside(self.pages, [Area(start, end) for start, end in sorted(dump.unchanged)])
        pages = np.concatenate([pages, self.pages[former]])
        contents = np.concatenate([contents, self.contents[former]])
        order = np.argsort(pages)
        pages, contents = pages[order], contents[order]
        if self.zeroes == "absent":
            pages, contents = pages[contents != 0], contents[contents != 0]
        return pages, contents

    def _remap(self, time_ns: int, areas: list[Area]) -> None:
        # Old mappings that are not among the new ones go, new ones come; both as far as they reach.
        staying = set(self.areas) & set(areas)
        for area in self.areas:
            if area not in staying:
                self.rows.add(time_ns, Kind.UNMAP, self.space, area.start, area.end - area.start)
                self.drop(area.start, area.end)
        for area in areas:
            if area in staying:
                continue
            n, name = area.end - area.start, self.rows.number(area.name) if area.name else -1
            self.rows.add(time_ns, Kind.MAP, self.space, area.start, n, int(area.kind), name=name)
            asks = self.asks and area.kind != Mapping.NEVER
            for advice in (*area.advice, *((int(Advice.MERGEABLE),) if asks else ())):
                self.rows.add(time_ns, Kind.MADVISE, self.space, area.start, n, advice)

    def _keep_zero_pages(self, pages: Numbers, contents: Numbers) -> Numbers:
        # Zeros where the zero page was known to be, which a file does not tell from a frame.
        zero_pages = self.pages[self.contents == _ZERO_PAGE]
        return np.where((contents == 0) & np.isin(pages, zero_pages), _ZERO_PAGE, contents)

    def drop(self, start: int, end: int) -> None:
        """The pages start .. end are absent now."""
        first, last = self._places(start, end)
        if first < last:
            self.pages = np.delete(self.pages, slice(first, last))
            self.contents = np.delete(self.contents, slice(first, last))

    def _places(self, start: int, end: int) -> tuple[int, int]:
        first, last = np.searchsorted(self.pages, [start, end]).tolist()
        return first, last

    def move(self, page: int, n: int, to: int) -> None:
        """What is in `n` pages from `page` on is at `to` now."""
        first, last = self._places(page, page + n)
        pages, contents = self.pages[first:last] - page + to, self.contents[first:last]
        self.drop(page, page + n)
        self.drop(to, to + n)
        self._put(pages, contents)

    def fill(self, start: int, end: int, *, writes: bool) -> None:
        """Absent pages of start .. end become zero: frames where somebody writes, which the zero page becomes too."""
        first, last = self._places(start, end)
        if writes and (self.contents[first:last] == _ZERO_PAGE).any():
            self.contents = self.contents.copy()  # a fork's child has the same array
            there = self.contents[first:last]
            there[there == _ZERO_PAGE] = 0
        new = np.setdiff1d(np.arange(start, end), self.pages[first:last], assume_unique=True)
        self._put(new, np.full(len(new), 0 if writes else _ZERO_PAGE))

    def _put(self, pages: Numbers, contents: Numbers) -> None:
        if not len(pages):
            return
        pages, contents = np.concatenate([self.pages, pages]), np.concatenate([self.contents, contents])
        order = np.argsort(pages)
        self.pages, self.contents = pages[order], contents[order]

    def _change(self, time_ns: int, pages: Numbers, contents: Numbers) -> None:
        place = np.searchsorted(self.pages, pages)
        known = np.zeros(len(pages), np.bool_)
        within = place < len(self.pages)
        known[within] = self.pages[place[within]] == pages[within]
        before = np.full(len(pages), _ZERO_PAGE - 1)
        before[known] = self.contents[place[known]]
        changed = before != contents
        zero_page = contents == _ZERO_PAGE
        gone = np.setdiff1d(self.pages, pages[~(zero_page & changed)], assume_unique=True)
        add = self.rows.add_runs
        add(time_ns, Kind.MADVISE, self.space, gone, int(Advice.DONTNEED))
        add(time_ns, Kind.READ, self.space, pages[changed & zero_page])
        written = changed & ~zero_page
        add(time_ns, Kind.WRITE, self.space, pages[written], contents[written])


def _inside(pages: Numbers, areas: list[Area]) -> npt.NDArray[np.bool_]:
    # Which pages lie in one of the areas, which ascend.
    if not areas:
        return np.zeros(len(pages), np.bool_)
    starts, ends = np.array([area.start for area in areas]), np.array([area.end for area in areas])
    at = np.searchsorted(starts, pages, side="right") - 1
    result: npt.NDArray[np.bool_] = (at >= 0) & (pages < ends[at])
    return result
