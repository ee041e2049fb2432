"""devksm-2009 (section 2): regions in the order of their registration, whatever is mapped in them."""

from __future__ import annotations

from tests.naive.review.items import Merger
from tests.naive.review.memory import OldMm
from tests.naive.review.verbs import runs

DEFAULTS: dict[str, int | str] = {
    "run": 1,
    "pages_to_scan": 100,
    "sleep_millisecs": 20,
    "sleep": 0,
    "max_kernel_pages": 0,
    "wrprotect": "rmap",
    "fd": "exit",
    "index_bug": 0,
}
MAX_RUN = (1 << 32) - 1
REGIONS_OF_AN_MM = 1024

BEFORE = "before the beginning"
PAST = "past the end"


class Region:
    """A range of pages of one mm."""

    def __init__(self, mm: OldMm, pages: range) -> None:
        self.mm = mm
        self.pages = pages


class Devksm(Merger):
    """The cursor is a region and an index in it, or one of BEFORE and PAST."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.regions: list[Region] = []
        self.cursor: Region | str = BEFORE
        self.index = 0
        self.opened: set[OldMm] = set()  # who opened the device
        self.holds: dict[OldMm, list[OldMm]] = {}  # whose descriptors a process holds, its own first, nearest first

    # -- regions -------------------------------------------------------------------------------------------------------

    def of(self, mm: OldMm) -> list[Region]:
        """The regions of an mm, in list order."""
        return [region for region in self.regions if region.mm is mm]

    def asked(self, mm: OldMm, pages: range) -> None:
        """Register each maximal part of the range that is in no region of the mm."""
        taken = {page for region in self.of(mm) for page in region.pages}
        for part in runs(page for page in pages if page not in taken):
            if len(self.of(mm)) < REGIONS_OF_AN_MM:
                self.regions.append(Region(mm, part))
                if mm not in self.opened:
                    self.opened.add(mm)
                    self.holds[mm] = [mm, *self.holds.get(mm, [])]

    def unasked(self, mm: OldMm, pages: range) -> None:
        """Remove the regions that begin in the range."""
        for region in self.of(mm):
            if region.pages.start in pages:
                self.remove(region)

    def remove(self, region: Region) -> int:
        """The copies made."""
        copies = 0
        for page in region.pages:
            if page in region.mm.items:
                copies += self.break_tracked(region.mm, page)
                self.free(region.mm, page)
        if self.cursor is region:
            self.next_region()
        self.regions.remove(region)
        return copies

    def next_region(self) -> None:
        """The cursor goes to the beginning of the next region, or past the end."""
        following = self.regions.index(self.cursor) + 1
        self.cursor = self.regions[following] if following < len(self.regions) else PAST
        self.index = 0

    # -- fork, exit, exec ----------------------------------------------------------------------------------------------

    def forked(self, mm: OldMm, child: OldMm) -> None:
        """The child has what its parent holds, but no region."""
        self.holds[child] = list(self.holds.get(mm, []))

    def exited(self, mm: OldMm) -> None:
        """The mm is held while it has a region, and regions stay while somebody holds the descriptor."""
        held = self.holds.pop(mm, [])
        if self.settings["fd"] == "exit":
            self.close(mm)
        elif self.settings["fd"] == "inherited":
            for owner in held:
                if not any(owner in others for others in self.holds.values()):
                    self.close(owner)
        if not mm.freed and not self.of(mm):
            self.memory.free(mm)

    def close(self, owner: OldMm) -> None:
        """Nobody holds the owner's descriptor any more."""
        if owner.freed:
            return  # it had no region when it died
        assert not owner.alive
        for region in self.of(owner):
            self.copies_at_exit += self.remove(region)
        self.memory.free(owner)

    # -- the scan ------------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether ksmd has anything to do."""
        return self.settings["run"] & 1 == 1 and bool(self.regions)

    def batch(self) -> None:
        """Every index is billed."""
        budget = self.settings["pages_to_scan"]
        for _ in range(budget):
            if not self.regions:
                return
            self.step()
        if budget and self.settings["index_bug"] and self.cursor != PAST:
            self.next_index()

    def step(self) -> None:
        """One index."""
        if self.cursor == BEFORE:
            self.first_index()
            if self.settings["index_bug"]:
                self.next_index()
        if self.cursor == PAST:
            self.full_scans += 1
            self.first_index()
        region, index = self.cursor, self.index
        self.look(region.mm, region.pages[index])
        self.next_index()

    def first_index(self) -> None:
        """A pass begins."""
        self.drop_unstable()
        self.cursor, self.index = self.regions[0], 0

    def next_index(self) -> None:
        """The next index, the next region, or past the end."""
        self.index += 1
        if self.index == len(self.cursor.pages):
            self.next_region()

    def look(self, mm: OldMm, page: int) -> None:
        """Bill the address; process what is ordinary."""
        if not mm.alive:
            self.steps_dead += 1
        elif mm.frame(page) is None:
            self.steps_absent += 1
        else:
            self.pages_scanned += 1
        if mm.ordinary(page) is not None:
            self.process(mm, page)

    def process(self, mm: OldMm, page: int) -> None:
        """The numbered list under "At an index"."""
        frame = mm.frame(page)
        item = mm.items.get(page)
        wait = False
        if item is not None and item.tracked:  # 1
            self.free(mm, page)
            item, wait = None, True
        elif item is not None:
            self.detach(item)
        found = self.stable_search(frame)  # 2
        if found is not None:
            self.join(item or self.claim(mm, page), *found)
            return
        if item is not None:  # 3
            checksum = self.checksum(frame)
            if checksum != item.checksum:
                item.checksum = checksum
                return
        other = self.unstable_search(frame, item)  # 4
        if other is not None:
            if item is not None or not self.quota_reached():
                self.pair(item or self.claim(mm, page), other)
            return
        if item is None and not wait:  # 5
            self.claim(mm, page).checksum = self.checksum(frame)

    # -- stores --------------------------------------------------------------------------------------------------------

    def store_run(self, value: int) -> bool:
        """Bit 0 of any value; clearing it is a pause."""
        if not 0 <= value <= MAX_RUN:
            return False
        self.settings["run"] = value
        return True
