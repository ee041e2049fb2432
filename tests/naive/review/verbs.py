"""The events of a trace under the designs of 2009: a move and MADV_UNMERGEABLE break nothing by themselves."""

from __future__ import annotations

from ksmbench.trace.schema import Advice, Kind, Mapping
from tests.naive.review.items import Merger
from tests.naive.review.memory import OldMemory, OldMm
from tests.naive.verbs import NoHooks, Verbs


class OldVerbs(Verbs):
    """Applies events; `asking` are the spaces that ask for everything, as if."""

    memory: OldMemory

    def __init__(self, memory: OldMemory, merger: Merger, asking: frozenset[int] = frozenset()) -> None:
        super().__init__(memory, NoHooks())
        self.merger = merger
        self.asking = asking

    def begin(self, spaces: list[int]) -> None:
        """The spaces that live from the start."""
        for space in spaces:
            self.merger.born(self.memory.new_mm(space))

    def apply(self, kind: int, space: int, page: int, count: int, value: int, numa: int = 0) -> None:
        """One event, and then whoever keeps lists of mappings looks at them again."""
        mm = self.memory.mms.get(space)
        super().apply(kind, space, page, count, value, numa)
        if mm is not None and mm.alive:
            if kind == Kind.UNMAP:
                self.merger.unmapping(mm, range(page, page + count))
            self.merger.remapped(mm)

    def _map(self, mm: OldMm, pages: range, kind: int) -> None:
        super()._map(mm, pages, kind)
        self.merger.unmapping(mm, pages)
        if mm.space in self.asking and kind != Mapping.NEVER:
            self._ask(mm, pages)

    def _ask(self, mm: OldMm, pages: range) -> None:
        for page in pages:
            if mm.private(page):
                mm.areas[page].mergeable = True
        self.merger.asked(mm, pages)

    def _madvise(self, mm: OldMm, pages: range, advice: int) -> None:
        if advice == Advice.MERGEABLE:
            self._ask(mm, pages)
        elif advice == Advice.UNMERGEABLE:
            self.merger.unasked(mm, pages)
            for page in pages:
                if page in mm.areas:
                    mm.areas[page].mergeable = False
        else:
            super()._madvise(mm, pages, advice)
        if advice == Advice.DONTNEED:
            self.merger.unmapping(mm, pages)

    def _move(self, mm: OldMm, pages: range, to: int) -> None:
        overlap = pages.start < to + len(pages) and to < pages.stop
        if overlap or not any(page in mm.areas for page in pages):
            return
        self.merger.unmapping(mm, range(to, to + len(pages)))
        for page in pages:
            target = page - pages.start + to
            self.memory.unmap(mm, target)
            if page not in mm.areas:
                continue
            mm.areas[target] = mm.areas[page].copy()
            frame, entry = mm.frame(page), mm.table.get(page)
            if frame is not None:
                self.memory.set_frame(mm, target, frame)
                mm.causes[target] = "move"
            elif entry is not None:
                self.memory.set_zero(mm, target, entry)
            self.memory.unmap(mm, page)
        self.merger.moved(mm, pages, to)
        self.merger.unmapping(mm, pages)

    def _share(self, mm: OldMm, pages: range, other: int) -> None:
        before = {page: mm.frame(page) for page in pages}
        super()._share(mm, pages, other)
        for page in pages:
            if mm.frame(page) is not before[page]:
                mm.causes[page] = "fork"

    def _fork(self, mm: OldMm, space: int) -> None:
        child = self.memory.new_mm(space, mm)
        for page, area in mm.areas.items():
            if area.dontfork:
                continue
            child.areas[page] = area.copy()
            if area.wipeonfork or page not in mm.table:
                continue
            frame = mm.frame(page)
            if frame is not None:
                self.memory.set_frame(child, page, frame)
                child.causes[page] = "fork"
            else:
                child.table[page] = mm.table[page]
        self.merger.forked(mm, child)
        self.merger.born(child)
        if space in self.asking:
            for run in runs(page for page in child.areas if child.private(page)):
                self._ask(child, run)
        self.merger.remapped(child)

    def _exec(self, mm: OldMm) -> None:
        self._end(mm)
        self.merger.born(self.memory.new_mm(mm.space))

    def _end(self, mm: OldMm) -> None:
        mm.alive = False
        mm.died_at = self.memory.now
        self.merger.exited(mm)


def runs(pages) -> list[range]:
    """The maximal runs of adjacent pages, ascending."""
    found: list[range] = []
    for page in sorted(pages):
        if found and found[-1].stop == page:
            found[-1] = range(found[-1].start, page + 1)
        else:
            found.append(range(page, page + 1))
    return found
