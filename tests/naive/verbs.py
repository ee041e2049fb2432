"""The events of a trace, on the naive memory. What is odd (say, a write outside mappings) does nothing."""

from typing import Protocol

from ksmbench.trace.schema import HUGE_PAGES, Advice, Kind, Mapping
from tests.naive.memory import KSM_ZERO, PLAIN_ZERO, Area, Memory, Mm


class Hooks(Protocol):
    """What KSM hears of."""

    def register(self, mm: Mm) -> None:
        """The mm asks to be scanned; nothing if it already is."""

    def exiting(self, mm: Mm) -> None:
        """Nobody uses the mm any more; its pages still are there."""


class NoHooks:
    """Nobody scans."""

    def register(self, mm: Mm) -> None:
        """Nothing."""
        mm.slot = True

    def exiting(self, mm: Mm) -> None:
        """Nothing."""


class Verbs:
    """Applies events."""

    def __init__(self, memory: Memory, hooks: Hooks, n_spaces: int = 0) -> None:
        self.memory = memory
        self.hooks = hooks
        self.next_number = n_spaces  # of the mm that the next exec makes

    def apply(self, kind: int, space: int, page: int, count: int, value: int, numa: int = 0) -> None:
        """One event; `tune` is not among them. Frames that it allocates are on NUMA node `numa`."""
        mm = self.memory.mms.get(space)
        self.next_number += kind == Kind.EXEC
        if kind == Kind.MARK or mm is None:
            return
        pages = range(page, page + count)
        if kind == Kind.MAP:
            self._map(mm, pages, value)
        elif kind == Kind.MOVE:
            self._move(mm, pages, value)
        elif kind == Kind.MADVISE:
            self._madvise(mm, pages, value)
        elif kind == Kind.HUGE:
            self._huge(mm, pages, numa)
        elif kind == Kind.SHARE:
            self._share(mm, pages, value)
        elif kind == Kind.FORK:
            self._fork(mm, value)
        elif kind == Kind.EXEC:
            self._exec(mm)
        elif kind == Kind.EXIT:
            self._end(mm)
            del self.memory.mms[space]
        elif kind == Kind.PRCTL:
            self._prctl(mm, value)
        else:
            for p in pages:
                self._page(kind, mm, p, value, numa)

    def _page(self, kind: int, mm: Mm, page: int, value: int, numa: int) -> None:
        if kind == Kind.UNMAP:
            self.memory.unmap(mm, page)
        elif kind == Kind.WRITE:
            self.memory.write(mm, page, value, numa)
        elif kind == Kind.TOUCH:
            self.memory.write(mm, page, None, numa)
        elif kind == Kind.READ:
            self.memory.read(mm, page)
        elif kind == Kind.SWAPOUT:
            self.memory.drop(mm, page)
        elif kind == Kind.MIGRATE and mm.frame(page) is not None:
            mm.frame(page).numa = value

    def _map(self, mm: Mm, pages: range, kind: int) -> None:
        for page in pages:
            self.memory.unmap(mm, page)
            mm.areas[page] = Area(kind, mm.merge_any and kind != Mapping.NEVER)
        if mm.merge_any and kind != Mapping.NEVER and self.memory.features.merge_any_survives:
            self.hooks.register(mm)

    def _move(self, mm: Mm, pages: range, to: int) -> None:
        overlap = pages.start < to + len(pages) and to < pages.stop
        if overlap or not any(page in mm.areas for page in pages):
            return
        for page in pages:
            if mm.mergeable(page):
                self.memory.unshare(mm, page)
        for page in pages:
            target = page - pages.start + to
            self.memory.unmap(mm, target)
            if page not in mm.areas:
                continue
            mm.areas[target] = mm.areas[page].copy()
            frame, entry = mm.frame(page), mm.table.get(page)
            if frame is not None:
                self.memory.set_frame(mm, target, frame)
            elif entry is not None:
                self.memory.set_zero(mm, target, entry)
            self.memory.unmap(mm, page)

    def _madvise(self, mm: Mm, pages: range, advice: int) -> None:
        mapped = [page for page in pages if page in mm.areas]
        if advice == Advice.MERGEABLE:
            self._flag(mm, mapped)
        elif advice == Advice.UNMERGEABLE:
            self._unflag(mm, mapped)
        elif advice == Advice.DONTNEED:
            for page in mapped:
                self.memory.drop(mm, page)
        for page in mapped:
            area = mm.areas[page]
            if advice in (Advice.DONTFORK, Advice.DOFORK):
                area.dontfork = advice == Advice.DONTFORK
            elif advice in (Advice.WIPEONFORK, Advice.KEEPONFORK) and area.kind == Mapping.ANONYMOUS:
                area.wipeonfork = advice == Advice.WIPEONFORK

    def _flag(self, mm: Mm, pages: list[int]) -> None:
        new = [page for page in pages if mm.areas[page].eligible and not mm.areas[page].mergeable]
        if new:
            self.hooks.register(mm)
        for page in new:
            mm.areas[page].mergeable = True

    def _unflag(self, mm: Mm, pages: list[int]) -> None:
        for page in pages:
            if mm.areas[page].mergeable:
                self.memory.unshare(mm, page)
                mm.areas[page].mergeable = False

    def _huge(self, mm: Mm, pages: range, numa: int) -> None:
        first = -(-pages.start // HUGE_PAGES) * HUGE_PAGES
        while first + HUGE_PAGES <= pages.stop:
            block = range(first, first + HUGE_PAGES)
            if all(page in mm.areas and mm.areas[page].kind == Mapping.ANONYMOUS for page in block):
                self.memory.back_huge(mm, first, numa)
            first += HUGE_PAGES

    def _share(self, mm: Mm, pages: range, other: int) -> None:
        owner = self.memory.mms.get(other)
        if owner is None or owner is mm:
            return
        for page in pages:
            frame = owner.frame(page)
            if frame is not None and page in mm.areas and mm.areas[page].eligible and mm.frame(page) is not frame:
                self.memory.set_frame(mm, page, frame)

    def _fork(self, mm: Mm, space: int) -> None:
        child = Mm(space)
        self.memory.mms[space] = child
        child.merge_any = mm.merge_any
        for page, area in mm.areas.items():
            if area.dontfork:
                continue
            child.areas[page] = area.copy()
            if area.wipeonfork or page not in mm.table:
                continue
            frame, entry = mm.frame(page), mm.table[page]
            if frame is not None:
                self.memory.set_frame(child, page, frame)
            else:
                child.table[page] = KSM_ZERO if entry == KSM_ZERO else PLAIN_ZERO
        child.zero_pages = mm.zero_pages  # the field is copied, whatever the child's table holds
        afresh = self.memory.features.fork_counts_afresh
        if not afresh:
            child.merging_pages, child.rmap_items = mm.merging_pages, mm.rmap_items
        if mm.slot is not None:
            if afresh:
                self.memory.ksm_zero_pages += mm.zero_pages
            self.hooks.register(child)

    def _exec(self, mm: Mm) -> None:
        new = Mm(mm.space)
        new.number = self.next_number - 1
        new.merge_any = mm.merge_any and bool(self.memory.features.exec_inherits)
        if new.merge_any and self.memory.features.exec_registers:
            self.hooks.register(new)
        self._end(mm)
        self.memory.mms[mm.space] = new

    def _end(self, mm: Mm) -> None:
        mm.alive = False
        self.hooks.exiting(mm)
        for page in list(mm.areas):
            self.memory.unmap(mm, page)

    def _prctl(self, mm: Mm, value: int) -> None:
        if not self.memory.features.prctl:
            return
        if value and not mm.merge_any:
            self.hooks.register(mm)
            mm.merge_any = True
            for area in mm.areas.values():
                area.mergeable = area.eligible
        elif not value and mm.merge_any:
            self._unflag(mm, list(mm.areas))
            mm.merge_any = False
