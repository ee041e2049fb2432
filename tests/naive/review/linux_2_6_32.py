"""ksm-2.6.32 (section 5): the rollup as it was merged. Absent addresses are free, exited mms are ksmd's to clean up."""

from __future__ import annotations

from tests.naive.memory import Frame
from tests.naive.review.items import Item
from tests.naive.review.memory import OldMm
from tests.naive.review.rollup import Listed, Rollup

DEFAULTS: dict[str, int | str] = {
    "run": 1,
    "pages_to_scan": 100,
    "sleep_millisecs": 20,
    "max_kernel_pages": 0,
    "wrprotect": "pte",
}


class Linux2632(Rollup):
    """What is different."""

    forgets = True

    def bill(self, mm: OldMm, page: int) -> bool:
        """Absent addresses are counted, but not billed."""
        super().bill(mm, page)
        return mm.frame(page) is not None

    def pass_over(self, mm: OldMm, stop: int | None) -> None:
        """Absent addresses keep no items either."""
        for page in sorted(mm.items):
            if self.after < page and (stop is None or page < stop):
                self.free_unbroken(mm, page)

    def steady(self, item: Item, merged: Frame) -> None:
        """A merged frame with one mapping is merged with nothing any more."""
        if len(merged.mappings) > 1:
            return
        self.memory.unshare(item.mm, item.page)
        self.detach(item)
        item.checksum = self.checksum(item.mm.frame(item.page))

    def exited(self, mm: OldMm) -> None:
        """Memory goes at once; the slot is put where ksmd comes by next (8.5), unless there is nothing to clean up."""
        self.memory.free(mm)
        for slot in self.of(mm):
            if slot is self.cursor:
                return
            self.ring.remove(slot)
            if mm.items:
                self.ring.insert(0 if self.cursor is None else self.ring.index(self.cursor) + 1, slot)

    def end_visit(self, listed: Listed) -> None:
        """An exited mm goes with its items."""
        if listed.mm.alive:
            super().end_visit(listed)
            return
        for page in sorted(listed.mm.items):
            self.free(listed.mm, page)
        self.visit_dead(listed)

    def visit_dead(self, listed: Listed) -> None:
        """Ksmd came by an mm that has exited."""
        self.steps_dead += 1
        self.leave(listed)

    def counters(self) -> dict[str, int]:
        """Two more, of which pages_unshared lags as the kernel's does."""
        common = super().counters()
        items = [item for mm in self.memory.every for item in mm.items.values()]
        unshared = sum(item.place is not None for item in items)
        volatile = len(items) - common["pages_shared"] - common["pages_sharing"] - unshared
        return {**common, "pages_unshared": unshared, "pages_volatile": volatile}
