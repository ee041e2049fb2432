"""ksm-rollup-2009 (section 4): a ring of mms, or of areas of mms, with hooks in fork and exit."""

from __future__ import annotations

from tests.naive.review.items import Item, Merger
from tests.naive.review.memory import OldMm
from tests.naive.review.verbs import runs

DEFAULTS: dict[str, int | str] = {
    "run": 1,
    "pages_to_scan": 100,
    "sleep_millisecs": 20,
    "max_kernel_pages": 0,
    "wrprotect": "pte",
    "list": "mm",
}


class Listed:
    """What is on the ring: an mm, or an area with the addresses that belong to it."""

    def __init__(self, mm: OldMm, area: set[int] | None = None) -> None:
        self.mm = mm
        self.area = area

    def mergeable(self, page: int) -> bool:
        """Whether the scan is to look there."""
        return self.mm.mergeable(page) and (self.area is None or page in self.area)


class Rollup(Merger):
    """The cursor is an element of the ring, or None at its head."""

    asks_mapping = True

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.ring: list[Listed] = []
        self.cursor: Listed | None = None
        self.pos = 0  # next page at the cursor
        self.after = -1  # the last page claimed in this visit
        self.by_area = self.settings.get("list") == "vma"

    # -- the ring ------------------------------------------------------------------------------------------------------

    def of(self, mm: OldMm) -> list[Listed]:
        """What the ring has of the mm."""
        return [listed for listed in self.ring if listed.mm is mm]

    def put_on_ring(self, listed: Listed) -> None:
        """Just behind the cursor; while `run` is 2 at the tail."""
        if self.cursor is None or self.settings["run"] == 2:
            self.ring.append(listed)
        else:
            self.ring.insert(self.ring.index(self.cursor), listed)

    def register(self, mm: OldMm) -> None:
        """Put the mm on the ring if it is not there."""
        if not self.by_area and not self.of(mm):
            self.put_on_ring(Listed(mm))

    def leave(self, listed: Listed) -> None:
        """Off the ring; a cursor there goes to the next, and after the last one the pass ends."""
        place = self.ring.index(listed)
        self.ring.remove(listed)
        if self.cursor is listed:
            self.visit(place)

    def visit(self, place: int) -> None:
        """The cursor goes to the beginning of the ring's element at this place, or to the head."""
        self.pos, self.after = 0, -1
        if place < len(self.ring):
            self.cursor = self.ring[place]
        else:
            self.cursor = None
            self.full_scans += 1

    # -- events --------------------------------------------------------------------------------------------------------

    def asked(self, mm: OldMm, pages: range) -> None:
        """The first mapping that becomes mergeable registers its mm."""
        if any(mm.mergeable(page) for page in pages):
            self.register(mm)

    def unasked(self, mm: OldMm, pages: range) -> None:
        """Every merged entry of mergeable addresses is broken."""
        for page in pages:
            if mm.mergeable(page):
                self.memory.unshare(mm, page)

    def forked(self, mm: OldMm, child: OldMm) -> None:
        """The child of a registered mm is registered."""
        if self.of(mm):
            self.register(child)

    def exited(self, mm: OldMm) -> None:
        """Everything goes at once."""
        self.memory.free(mm)
        for page in sorted(mm.items):
            self.free(mm, page)
        for listed in self.of(mm):
            self.leave(listed)

    def remapped(self, mm: OldMm) -> None:
        """Renew the areas of the mm."""
        if not self.by_area:
            return
        areas = self.of(mm)
        for page in sorted(page for listed in areas for page in listed.area):
            if mm.mergeable(page):
                continue
            for listed in areas:
                listed.area.discard(page)
            if page in mm.items:
                self.free_not_mergeable(mm, page)
        for listed in areas:
            if not listed.area:
                self.leave(listed)
        taken = {page for listed in areas for page in listed.area}
        for run in runs(page for page in mm.areas if mm.mergeable(page) and page not in taken):
            self.put_on_ring(Listed(mm, set(run)))

    # -- the scan ------------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether ksmd has anything to do."""
        return self.settings["run"] == 1 and bool(self.ring)

    def batch(self) -> None:
        """Addresses until the budget is used up or a pass ends."""
        for _ in range(self.settings["pages_to_scan"]):
            found = self.next_address()
            if found is None:
                return
            if found.mm.frame(found.page) is not None:
                self.process(found)

    def next_address(self) -> Item | None:
        """The item of the next address that is billed; None at the end of a pass."""
        if not self.ring:
            return None
        if self.cursor is None:
            self.drop_unstable()
            self.cursor, self.pos, self.after = self.ring[0], 0, -1
        while True:
            found = self.next_in(self.cursor)
            if found is not None:
                return found
            self.end_visit(self.cursor)
            if self.cursor is None:
                return None

    def next_in(self, listed: Listed) -> Item | None:
        """The same at the cursor; None where nothing is left."""
        mm = listed.mm
        for page in sorted(page for page in mm.areas if page >= self.pos and listed.mergeable(page)):
            self.pos = page + 1
            if self.bill(mm, page):
                if listed.area is None:
                    self.pass_over(mm, page)
                self.after = page
                return self.claim(mm, page)
        return None

    def bill(self, mm: OldMm, page: int) -> bool:
        """Count the step; whether it costs budget."""
        if mm.frame(page) is None:
            self.steps_absent += 1
        else:
            self.pages_scanned += 1
        return True

    def pass_over(self, mm: OldMm, stop: int | None) -> None:
        """Free the items between the last address claimed and this one."""
        for page in sorted(mm.items):
            if self.after < page and (stop is None or page < stop):
                self.free_not_mergeable(mm, page)

    def end_visit(self, listed: Listed) -> None:
        """Nothing is left at the cursor; it goes on."""
        place = self.ring.index(listed)
        if listed.area is None:
            self.pass_over(listed.mm, None)
            if self.pos == 0:
                self.steps_idle += 1
                self.leave(listed)
                return
        self.visit(place + 1)

    def process(self, item: Item) -> None:
        """The numbered list of section 4."""
        mm, page = item.mm, item.page
        merged = mm.merged(page)
        if merged is not None and item.element is not None:
            self.steady(item, merged)
            return
        self.detach(item)  # 1
        found = self.stable_search(mm.frame(page))  # 2
        if found is not None:
            element, live = found
            if live is merged:
                self.append(item, element)
            elif merged is None:
                self.join(item, element, live)
            return
        if merged is not None:  # 3
            self.memory.unshare(mm, page)
        frame = mm.frame(page)
        checksum = self.checksum(frame)  # 4
        if checksum != item.checksum:
            item.checksum = checksum
            return
        other = self.unstable_search(frame, item)  # 5
        if other is not None:
            self.pair(item, other)

    def steady(self, item: Item, merged) -> None:
        """A merged address with a stable item: nothing."""

    def insertion_failed(self, i: Item, t: Item) -> None:
        """Both are broken, t's first."""
        for item in (t, i):
            self.memory.unshare(item.mm, item.page)

    # -- stores --------------------------------------------------------------------------------------------------------

    def store_run(self, value: int) -> bool:
        """0 is a pause, 2 unmerges everything."""
        if value not in (0, 1, 2):
            return False
        if value == 2 and self.settings["run"] != 2:
            self.unmerge_all()
        self.settings["run"] = value
        return True

    def unmerge_all(self) -> None:
        """In ring order."""
        for listed in list(self.ring):
            mm = listed.mm
            for page in sorted(page for page in mm.areas if listed.mergeable(page) and mm.merged(page)):
                self.memory.unshare(mm, page)
                self.copies_at_stop += 1
            for page in sorted(mm.items):
                if listed.area is None or page in listed.area:
                    self.free_unbroken(mm, page)
            if not mm.alive:
                self.visit_dead(listed)
        self.full_scans = 0
        self.cursor, self.pos, self.after = None, 0, -1

    def free_unbroken(self, mm: OldMm, page: int) -> None:
        """Free an item; a merged entry that stays, as its address is not mergeable, is lost."""
        if mm.mergeable(page):
            self.free(mm, page)
        else:
            self.free_not_mergeable(mm, page)

    def visit_dead(self, listed: Listed) -> None:
        """Ksmd came by an mm that has exited: never here, in 2.6.32 it is."""
        raise NotImplementedError
