"""madvise-rfc-2009 (section 3): mms on mmlist, slots that hold them, and callbacks that can be switched on."""

from __future__ import annotations

from tests.naive.review.items import Item, Merger
from tests.naive.review.memory import OldMm

DEFAULTS: dict[str, int | str] = {
    "run": 1,
    "pages_to_scan": 100,
    "sleep_millisecs": 20,
    "sleep": 0,
    "max_kernel_pages": 0,
    "wrprotect": "rmap",
    "callbacks": "none",
    "merge_pid": -1,
}

AFTER_LAST = "after the last mm"


class Rfc(Merger):
    """The cursor is None, an mm on mmlist or AFTER_LAST; `pos` is None at the beginning of an mm."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.mmlist: list[OldMm] = []
        self.flagged: set[OldMm] = set()
        self.mergeall: set[OldMm] = set()
        self.touched: dict[OldMm, bool] = {}  # mm with a slot -> its touched bit
        self.cursor: OldMm | str | None = None
        self.pos: int | None = None
        words = self.settings["callbacks"]
        self.callbacks = set() if words == "none" else set(words.split(","))
        self.to_come = self.settings["merge_pid"]

    def put_on_mmlist(self, mm: OldMm) -> None:
        """At its head, unless it is listed."""
        if mm not in self.mmlist:
            self.mmlist.insert(0, mm)

    def mergeable(self, mm: OldMm, page: int) -> bool:
        """To the scan."""
        return mm.mergeable(page) or mm in self.mergeall and mm.private(page)

    # -- events --------------------------------------------------------------------------------------------------------

    def asked(self, mm: OldMm, pages: range) -> None:
        """The flag, and a place on mmlist."""
        if any(mm.mergeable(page) for page in pages):
            self.flagged.add(mm)
            self.put_on_mmlist(mm)

    def born(self, mm: OldMm) -> None:
        """The setting `merge_pid` waits for its space."""
        if mm.space == self.to_come:
            self.to_come = -1
            self.merge_all(mm)

    def merge_all(self, mm: OldMm) -> None:
        """MERGEALL, and a place on mmlist."""
        self.mergeall.add(mm)
        self.put_on_mmlist(mm)

    def forked(self, mm: OldMm, child: OldMm) -> None:
        """The flag travels, the place on mmlist does not; callback `fork`."""
        if mm not in self.flagged:
            return
        self.flagged.add(child)
        if "fork" not in self.callbacks:
            return
        self.put_on_mmlist(child)
        for page in sorted(child.table):
            parents = mm.items.get(page)
            if child.merged(page) and parents is not None and parents.tracked:
                item = self.claim(child, page)
                if parents.outside:
                    item.outside = True
                else:
                    self.append(item, parents.element)
                self.touched[child] = True

    def exited(self, mm: OldMm) -> None:
        """Held while there is a slot; callback `exit`."""
        if mm in self.touched and "exit" not in self.callbacks:
            return
        for page in sorted(mm.items):
            self.free(mm, page)
        self.touched.pop(mm, None)
        self.let_go(mm)

    def let_go(self, mm: OldMm) -> None:
        """Free a dead mm and take it off mmlist; a cursor there goes on."""
        self.memory.free(mm)
        if mm not in self.mmlist:
            return
        if self.cursor is mm:
            self.next_mm()
            if self.cursor == AFTER_LAST:
                self.end_pass()
        self.mmlist.remove(mm)

    def moved(self, mm: OldMm, pages: range, to: int) -> None:
        """Callback `mremap`: the items travel."""
        if "mremap" not in self.callbacks:
            return
        for page in pages:
            target = page - pages.start + to
            if page not in mm.items or mm.frame(target) is None:
                continue
            if target in mm.items:
                self.free(mm, target)
            item = mm.items.pop(page)
            if item.place is not None:
                self.detach(item)
            item.page = target
            mm.items[target] = item

    def unmapping(self, mm: OldMm, pages: range) -> None:
        """Callback `munmap`."""
        if "munmap" in self.callbacks:
            for page in pages:
                if page in mm.items:
                    self.free(mm, page)

    # -- the scan ------------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether ksmd has anything to do."""
        return self.settings["run"] == 1 and bool(self.mmlist)

    def release(self, mm: OldMm) -> int:
        """Drop the slot, and a dead mm with it; the copies made."""
        copies = 0
        for page in sorted(mm.items):
            copies += self.break_tracked(mm, page)
            self.free(mm, page)
        del self.touched[mm]
        if not mm.alive:
            self.memory.free(mm)
            self.mmlist.remove(mm)
        return copies

    def begin_pass(self) -> None:
        """Slots that the last pass did not touch go."""
        for mm in list(self.mmlist):
            if mm not in self.touched:
                continue
            if self.touched[mm]:
                self.touched[mm] = False
            else:
                dead = not mm.alive
                copies = self.release(mm)
                self.copies_at_exit += copies * dead
        self.drop_unstable()
        if self.mmlist:
            self.cursor, self.pos = self.mmlist[0], None

    def next_mm(self) -> None:
        """The beginning of the next mm, or after the last."""
        following = self.mmlist.index(self.cursor) + 1
        self.cursor = self.mmlist[following] if following < len(self.mmlist) else AFTER_LAST
        self.pos = None

    def end_pass(self) -> None:
        """The cursor is none then."""
        self.full_scans += 1
        self.cursor = None

    def batch(self) -> None:
        """Steps until the budget is used up or one of them ends the batch."""
        budget = self.settings["pages_to_scan"]
        while budget:
            if self.cursor is None:  # 1
                self.begin_pass()
                if self.cursor is None:
                    return
            elif self.cursor == AFTER_LAST:  # 4
                self.end_pass()
                return
            elif self.pos is None:  # 2
                if not self.select(self.cursor):
                    return
            else:  # 3
                budget -= self.next_address(self.cursor)

    def select(self, mm: OldMm) -> bool:
        """At the beginning of an mm; False where the batch ends."""
        if not mm.alive:
            self.steps_dead += 1
            self.next_mm()
            return True
        if mm not in self.flagged and mm not in self.mergeall:
            self.steps_idle += 1
            self.next_mm()
            return True
        made = mm not in self.touched
        self.touched[mm] = True
        if any(self.mergeable(mm, page) for page in mm.areas):
            self.pos = 0
            return True
        self.flagged.discard(mm)
        self.steps_idle += 1
        self.next_mm()
        if made and self.cursor == AFTER_LAST:
            self.end_pass()
        return not made

    def next_address(self, mm: OldMm) -> int:
        """What it costs: 1, or 0 where no address is left."""
        found = min((page for page in mm.areas if page >= self.pos and self.mergeable(mm, page)), default=None)
        for page in sorted(mm.items):
            if page >= self.pos and (found is None or page < found):
                self.free_not_mergeable(mm, page)
        if found is None:
            self.next_mm()
            return 0
        self.pos = found + 1
        if not mm.alive:
            self.steps_dead += 1
        elif mm.frame(found) is None:
            self.steps_absent += 1
        else:
            self.pages_scanned += 1
        item = self.claim(mm, found)
        if mm.ordinary(found) is not None:
            self.process(item)
        return 1

    def process(self, item: Item) -> None:
        """The paragraph "Processing"."""
        frame = item.mm.frame(item.page)
        wait = item.tracked
        self.detach(item)
        found = self.stable_search(frame)
        if found is not None:
            self.join(item, *found)
            return
        if wait:
            return
        checksum = self.checksum(frame)
        if checksum != item.checksum:
            item.checksum = checksum
            return
        other = self.unstable_search(frame, item)
        if other is not None:
            self.pair(item, other)

    # -- stores --------------------------------------------------------------------------------------------------------

    def store_run(self, value: int) -> bool:
        """0 or 1; 0 throws everything away."""
        if value not in (0, 1):
            return False
        if value == 0 and self.settings["run"] == 1:
            for mm in list(self.mmlist):
                if mm in self.touched:
                    self.copies_at_stop += self.release(mm)
            self.drop_unstable()
            self.cursor, self.pos = None, None
        self.settings["run"] = value
        return True

    def store_merge_pid(self, value: int) -> bool:
        """The number of a space that lives."""
        if value not in self.memory.mms:
            return False
        self.merge_all(self.memory.mms[value])
        return True

    def store_unmerge_pid(self, value: int) -> bool:
        """The number of one that has MERGEALL."""
        mm = self.memory.mms.get(value)
        if mm not in self.mergeall:
            return False
        self.mergeall.discard(mm)
        return True
