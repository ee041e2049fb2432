"""Section 1 of the document: items, elements, the two trees, and what the designs of 2009 do alike."""

from __future__ import annotations

from tests.naive.memory import Frame
from tests.naive.review.memory import OldMemory, OldMm
from tests.naive.tree import Place, Tree
from tests.naive.work import Search, Work


class Item:
    """What is known of one address."""

    def __init__(self, mm: OldMm, page: int) -> None:
        self.mm = mm
        self.page = page
        self.checksum: int | None = None
        self.element: Element | None = None  # stable
        self.outside = False
        self.place: Place | None = None  # unstable
        self.tree: Tree | None = None  # the unstable tree that `place` is in, perhaps one that is gone

    @property
    def tracked(self) -> bool:
        """Stable or outside."""
        return self.element is not None or self.outside


class Element:
    """A node of the stable tree."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.place = Place(self)


class Merger:
    """A design's state; each design adds its list, its scan and its hooks."""

    forgets = False  # whether leaving the stable tree loses the checksum
    asks_mapping = False  # whether an unstable item counts only while its mm lives and its address is mergeable

    def __init__(self, memory: OldMemory, lcp: list[int], checksums: list[int], settings: dict[str, int | str]) -> None:
        self.memory = memory
        self.lcp = lcp
        self.checksum_of = checksums
        self.settings = settings
        self.stable = Tree()
        self.unstable = Tree()
        self.full_scans = self.pages_scanned = 0
        self.steps_absent = self.steps_dead = self.steps_idle = 0
        self.work = Work()
        self.wrprotect_ptes = 0
        self.copies_at_exit = self.copies_at_stop = 0
        self.cpu_ns = 0

    # -- what events tell a design -------------------------------------------------------------------------------------

    def born(self, mm: OldMm) -> None:
        """The mm lives: from the start, or by a fork or an exec."""

    def asked(self, mm: OldMm, pages: range) -> None:
        """MADV_MERGEABLE, after the mappings have their flag."""

    def unasked(self, mm: OldMm, pages: range) -> None:
        """MADV_UNMERGEABLE, before the mappings lose their flag."""

    def forked(self, mm: OldMm, child: OldMm) -> None:
        """The child has its pages."""

    def exited(self, mm: OldMm) -> None:
        """The mm is dead; its memory is still there."""
        raise NotImplementedError

    def unmapping(self, mm: OldMm, pages: range) -> None:
        """munmap, mmap, MADV_DONTNEED, the target of a move before and its source after it."""

    def moved(self, mm: OldMm, pages: range, to: int) -> None:
        """mremap moved the pages."""

    def remapped(self, mm: OldMm) -> None:
        """After an event: mappings of the mm may have changed."""

    # -- looking -------------------------------------------------------------------------------------------------------

    def compare(self, search: Search, one: Frame, other: Frame) -> int:
        """Negative, 0 or positive as memcmp of the two; counted."""
        a, b = sorted((one.content, other.content))
        self.work.compare(search, 4096 if a == b else 1 + min(self.lcp[a + 1 : b + 1]))
        return one.content - other.content

    def checksum(self, frame: Frame) -> int:
        """Counted."""
        self.work.checksums += 1
        return self.checksum_of[frame.content]

    def elements(self) -> list[Element]:
        """Those of the stable tree."""
        return self.stable.elements()

    def tracked(self) -> int:
        """Items that are stable or outside."""
        return sum(item.tracked for mm in self.memory.every for item in mm.items.values())

    def kernel_pages_counted(self) -> int:
        """What the quota sees."""
        outside = sum(item.outside for mm in self.memory.every for item in mm.items.values())
        return len(self.elements()) + outside

    # -- items ---------------------------------------------------------------------------------------------------------

    def claim(self, mm: OldMm, page: int) -> Item:
        """The item of the address, made if there is none."""
        self.work.items_made += page not in mm.items
        return mm.items.setdefault(page, Item(mm, page))

    def left_stable(self, item: Item) -> None:
        """The item is on no list any more."""
        item.element = None
        if self.forgets:
            item.checksum = None

    def detach(self, item: Item) -> None:
        """The item is treeless then."""
        if item.place is not None:
            if item.tree is self.unstable:
                self.unstable.erase(item.place)
            item.place = item.tree = None
        if item.element is not None:
            element = item.element
            element.items.remove(item)
            if not element.items:
                self.stable.erase(element.place)
            self.left_stable(item)
        item.outside = False

    def free(self, mm: OldMm, page: int) -> None:
        """Detach and free the item of the address."""
        self.work.items_freed += 1
        self.detach(mm.items.pop(page))

    def free_not_mergeable(self, mm: OldMm, page: int) -> None:
        """The same because the address is not mergeable any more: what it tracked is lost from now on."""
        if mm.items[page].tracked:
            mm.causes[page] = "unmerge"
        self.free(mm, page)

    def break_tracked(self, mm: OldMm, page: int) -> int:
        """Break the entry if it is merged and its item tracked; the copies made."""
        if not (mm.items[page].tracked and mm.merged(page)):
            return 0
        self.memory.unshare(mm, page)
        return 1

    # -- trees ---------------------------------------------------------------------------------------------------------

    def live_frame(self, element: Element) -> Frame | None:
        """The frame of the first live item; zapped ones before it are taken off, None where the element is gone."""
        while element.items:
            item = element.items[0]
            frame = item.mm.merged(item.page)
            if frame is not None:
                return frame
            element.items.pop(0)
            self.left_stable(item)
        self.stable.erase(element.place)
        return None

    def stable_search(self, frame: Frame) -> tuple[Element, Frame] | None:
        """The element with this content, and its frame."""
        search = self.work.begin_search("stable")
        place = self.stable.root
        while place is not None:
            element: Element = place.element
            live = self.live_frame(element)
            if live is None:
                return None
            order = self.compare(search, frame, live)
            if order == 0:
                return element, live
            place = place.left if order < 0 else place.right
        return None

    def stable_insert(self, item: Item, frame: Frame) -> Element | None:
        """The item as a new element, or None where that fails."""
        search = self.work.begin_search("stable")
        place, parent, left = self.stable.root, None, False
        while place is not None:
            live = self.live_frame(place.element)
            if live is None:
                return None
            order = self.compare(search, frame, live)
            if order == 0:
                return None
            parent, left = place, order < 0
            place = place.left if left else place.right
        self.work.nodes_made += 1
        item.element = Element([item])
        self.stable.link(item.element.place, parent, left=left)
        return item.element

    def unstable_search(self, frame: Frame, item: Item | None) -> Item | None:
        """An equal unstable item; otherwise the item, if there is one, is inserted."""
        search = self.work.begin_search("unstable")
        place, parent, left = self.unstable.root, None, False
        while place is not None:
            other: Item = place.element
            there = other.mm.ordinary(other.page)
            if self.asks_mapping and not (other.mm.alive and other.mm.mergeable(other.page)):
                there = None
            if there is None or there is frame:
                return None
            order = self.compare(search, frame, there)
            if order == 0:
                return other
            parent, left = place, order < 0
            place = place.left if left else place.right
        if item is not None:
            item.place, item.tree = Place(item), self.unstable
            self.unstable.link(item.place, parent, left=left)
        return None

    def drop_unstable(self) -> None:
        """A pass begins; items of the old tree stay until their next visit, which changes nothing that is seen."""
        self.unstable = Tree()

    # -- merging -------------------------------------------------------------------------------------------------------

    def write_protect(self, item: Item) -> None:
        """Count the entries that are visited for one entry write-protected."""
        if self.settings["wrprotect"] == "pte":
            self.wrprotect_ptes += 1
            return
        family = [mm for mm in self.memory.every if mm.family == item.mm.family and not mm.freed]
        self.wrprotect_ptes += sum(mm.private(item.page) for mm in family)

    def redirect(self, item: Item, frame: Frame) -> None:
        """The entry is write-protected and maps this frame instead."""
        self.write_protect(item)
        self.memory.set_frame(item.mm, item.page, frame)
        self.work.merges += 1

    def append(self, item: Item, element: Element) -> None:
        """Second on the list, behind the first."""
        element.items.insert(1, item)
        item.element = element

    def join(self, item: Item, element: Element, live: Frame) -> None:
        """An equal merged frame was found."""
        self.redirect(item, live)
        self.append(item, element)

    def quota_reached(self) -> bool:
        """Whether no further pair may merge."""
        return 0 < self.settings["max_kernel_pages"] <= self.kernel_pages_counted()

    def pair(self, i: Item, t: Item) -> None:
        """An equal unstable item t was found for item i."""
        if self.quota_reached():
            return
        merged = Frame(i.mm.frame(i.page).content)
        merged.ksm = True
        self.redirect(i, merged)
        self.redirect(t, merged)
        self.detach(t)
        element = self.stable_insert(t, merged)
        if element is not None:
            self.append(i, element)
        else:
            self.insertion_failed(i, t)

    def insertion_failed(self, i: Item, t: Item) -> None:
        """Devksm and RFC: both are merged, in no tree."""
        i.outside = t.outside = True

    # -- time and counters ---------------------------------------------------------------------------------------------

    def sleep_ns(self) -> int:
        """What ksmd sleeps after a batch."""
        return self.settings.get("sleep", 0) * 1000 or self.settings["sleep_millisecs"] * 1_000_000

    def counters(self) -> dict[str, int]:
        """What all four designs count."""
        lost = self.memory.lost()
        elements = len(self.elements())
        return {
            "full_scans": self.full_scans,
            "pages_scanned": self.pages_scanned,
            "pages_shared": elements,
            "pages_sharing": self.tracked() - elements,
            **self.memory.counters(),
            "cpu_ns": self.cpu_ns,
            **self.work.counters(),
            "lost_ptes": len(lost),
            **{f"lost_by_{cause}": lost.count(cause) for cause in ("fork", "move", "unmap", "unmerge")},
            "kernel_pages_counted": self.kernel_pages_counted(),
            "dead_pages": self.memory.dead_pages(),
            "steps_absent": self.steps_absent,
            "steps_dead": self.steps_dead,
            "steps_idle": self.steps_idle,
            "wrprotect_ptes": self.wrprotect_ptes,
        }
