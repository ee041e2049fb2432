"""Address spaces under the designs of 2009: mms that are held after their exit, and how an entry came to be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksmbench.designs.ksm.features import Features
from tests.naive.memory import Frame, Memory, Mm

if TYPE_CHECKING:
    from tests.naive.review.items import Item

BEFORE_HUGE_FRAMES = Features(huge=0, prctl=0, zero_pages=0, sleep_store_wakes=0)


class OldMm(Mm):
    """An mm; `areas` and `table` are empty once its memory is freed."""

    def __init__(self, space: int, family: int) -> None:
        super().__init__(space)
        self.family = family  # mms that forks connect
        self.died_at: int | None = None
        self.freed = False
        self.freed_at = 0
        self.items: dict[int, Item] = {}  # by page
        self.causes: dict[int, str] = {}  # by page: what made, or freed the item of, the entry last

    def merged(self, page: int) -> Frame | None:
        """The merged frame that the page maps."""
        frame = self.frame(page)
        return frame if frame is not None and frame.ksm else None

    def ordinary(self, page: int) -> Frame | None:
        """The anonymous frame that the page maps, if it is not a merged one."""
        frame = self.frame(page)
        return frame if frame is not None and not frame.ksm else None

    def private(self, page: int) -> bool:
        """Whether the page lies in a private mapping."""
        return page in self.areas and self.areas[page].eligible


class OldMemory(Memory):
    """All mms that ever lived, and the delays from exit to free."""

    def __init__(self) -> None:
        super().__init__(BEFORE_HUGE_FRAMES)
        self.now = 0
        self.every: list[OldMm] = []
        self.n_families = 0

    def new_mm(self, space: int, parent: OldMm | None = None) -> OldMm:
        """A living mm for the space, of its parent's family or of one of its own."""
        if parent is None:
            self.n_families += 1
        mm = OldMm(space, parent.family if parent else self.n_families)
        self.every.append(mm)
        self.mms[space] = mm
        return mm

    def free(self, mm: OldMm) -> None:
        """Unmap everything of a dead mm."""
        assert mm.died_at is not None
        assert not mm.freed
        for page in list(mm.areas):
            self.unmap(mm, page)
        assert not mm.table
        mm.freed = True
        mm.freed_at = self.now

    def longest_delay(self) -> int:
        """From exit to free, ns; who was not freed counts until now."""
        delays = [(mm.freed_at if mm.freed else self.now) - mm.died_at for mm in self.every if mm.died_at is not None]
        return max(delays, default=0)

    def entries(self) -> list[tuple[Mm, int, Frame]]:
        """Every entry that maps an anonymous frame, those of held mms too."""
        return [(mm, page, entry) for mm in self.every for page, entry in mm.table.items() if isinstance(entry, Frame)]

    def dead_pages(self) -> int:
        """Frames that only exited mms map."""
        frames = {frame for _, _, frame in self.entries()}
        return sum(not any(mm.alive for mm, _ in frame.mappings) for frame in frames)

    def lost(self) -> list[str]:
        """The cause for each entry that maps a merged frame without a tracked item."""
        return [
            mm.causes[page]
            for mm, page, frame in self.entries()
            if frame.ksm and not (page in mm.items and mm.items[page].tracked)
        ]
