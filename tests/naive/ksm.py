"""KSM of Linux 6.18 in plain Python, after the specification and slow: ring, scan, smart scan, merging."""

from __future__ import annotations

from tests.naive.memory import KSM_ZERO, Folio, Frame, Memory, Mm
from tests.naive.stable import Node, Stable
from tests.naive.tree import Place, Tree

DEFAULTS = {
    "run": 1,
    "pages_to_scan": 100,
    "sleep_millisecs": 20,
    "smart_scan": 1,
    "use_zero_pages": 0,
    "max_page_sharing": 256,
    "stable_node_chains_prune_millisecs": 2000,
}


class Item:
    """What KSM knows of one page of one mm."""

    def __init__(self, mm: Mm, page: int) -> None:
        self.mm = mm
        self.page = page
        self.checksum: int | None = None  # at the last visit that was not skipped
        self.age = 0
        self.remaining_skips = 0
        self.node: Node | None = None  # on this stable node
        self.place: Place | None = None  # in an unstable tree, perhaps one that is gone
        self.seq = 0  # the full scan of that tree, modulo 256

    def leave_node(self) -> None:
        """The item is on no stable node any more."""
        self.node = None
        self.mm.merging_pages -= 1


class Slot:
    """A registered mm in the ring."""

    def __init__(self, mm: Mm) -> None:
        self.mm = mm
        self.items: dict[int, Item] = {}  # by page


class Ksm:
    """The state of KSM; `ring` is the order after its head."""

    def __init__(self, memory: Memory, lcp: list[int], checksums: list[int], settings: dict[str, int]) -> None:
        self.memory = memory
        self.lcp = lcp
        self.checksum_of = checksums
        self.settings = {**DEFAULTS, **settings}
        self.now = 0
        self.ring: list[Slot] = []
        self.cursor: Slot | None = None  # None: the head
        self.pos = 0  # next page at the cursor
        self.after = -1  # the last page claimed in this visit
        self.seq = 0
        self.stable = Stable(self)
        self.unstable = Tree()
        self.shared = self.sharing = self.unshared = self.rmap_items = 0
        self.scanned = self.skipped = 0
        self.checksums = self.comparisons = self.compared_bytes = self.merges = 0

    # -- the ring ------------------------------------------------------------------------------------------------

    def register(self, mm: Mm) -> None:
        """Put the mm just behind the cursor, if it is in no slot."""
        if mm.slot is not None:
            return
        mm.slot = Slot(mm)
        if self.cursor is None or self.settings["run"] == 2:
            self.ring.append(mm.slot)
        else:
            self.ring.insert(self.ring.index(self.cursor), mm.slot)

    def exiting(self, mm: Mm) -> None:
        """The hook of a dying mm."""
        slot = mm.slot
        if slot is None or slot is self.cursor:
            return
        self.ring.remove(slot)
        if not slot.items:
            mm.slot = None
        elif self.cursor is None:
            self.ring.insert(0, slot)
        else:
            self.ring.insert(self.ring.index(self.cursor) + 1, slot)

    # -- the scan ------------------------------------------------------------------------------------------------

    def may_scan(self) -> bool:
        """Whether ksmd has anything to do."""
        return self.settings["run"] == 1 and bool(self.ring)

    def batch(self, now: int) -> None:
        """One wake-up of ksmd."""
        self.now = now
        for _ in range(self.settings["pages_to_scan"]):
            found = self._next_page()
            if found is None:
                return
            self._process(*found)
            self.scanned += 1

    def _visit(self, slot: Slot) -> None:
        self.cursor, self.pos, self.after = slot, 0, -1

    def _next_page(self) -> tuple[Item, Frame] | None:
        if not self.ring:
            return None
        if self.cursor is None:
            self.unstable = Tree()
            self._visit(self.ring[0])
        while True:
            slot = self.cursor
            mm = slot.mm
            if not mm.alive:
                self.pos, self.after = 0, -1
            else:
                found = self._next_in(slot)
                if found is not None:
                    return found
            for page in sorted(slot.items):
                if page > self.after:
                    self.free(slot, page)
            place = self.ring.index(slot)
            if self.pos == 0:
                self.ring.remove(slot)
                mm.slot = None
            else:
                place += 1
            if place == len(self.ring):
                self.cursor = None
                self.seq += 1
                return None
            self._visit(self.ring[place])

    def _next_in(self, slot: Slot) -> tuple[Item, Frame] | None:
        mm = slot.mm
        for page in sorted(page for page in mm.areas if page >= self.pos and mm.mergeable(page)):
            self.pos = page + 1
            frame = mm.frame(page)
            if frame is None:
                continue
            item = self._claim(slot, page)
            if not self._smart_skip(frame, item):
                return item, frame
        return None

    def _claim(self, slot: Slot, page: int) -> Item:
        for old in sorted(slot.items):
            if self.after < old < page:
                self.free(slot, old)
        self.after = page
        if page not in slot.items:
            slot.items[page] = Item(slot.mm, page)
            self.rmap_items += 1
            slot.mm.rmap_items += 1
        return slot.items[page]

    def free(self, slot: Slot, page: int) -> None:
        self._detach(slot.items.pop(page))
        self.rmap_items -= 1
        slot.mm.rmap_items -= 1

    def _smart_skip(self, frame: Frame, item: Item) -> bool:
        if not self.settings["smart_scan"] or frame.ksm:
            return False
        age = item.age
        item.age = min(255, age + 1)
        if age < 3:
            return False
        if item.remaining_skips == 0:
            item.remaining_skips = 1 if age <= 3 else 2 if age <= 5 else 4 if age <= 8 else 8
            return False
        self.skipped += 1
        item.remaining_skips -= 1
        self._detach(item)
        return True

    # -- one page ------------------------------------------------------------------------------------------------

    def _process(self, item: Item, frame: Frame) -> None:
        node = frame.node if frame.ksm else None
        if node is not None:
            if item.node is node:
                return
        else:
            self._detach(item)
            self.checksums += 1
            checksum = self.checksum_of[frame.content]
            if item.checksum != checksum:
                item.checksum = checksum
                return
            if self.settings["use_zero_pages"] and checksum == self.checksum_of[0]:
                if not (item.mm.alive and item.mm.mergeable(item.page)):
                    return
                if self._merge_pte(item, frame, KSM_ZERO):
                    return
        known = self.stable.search(frame)
        self._detach(item)
        if known is not None:
            if self._adopt(item, frame, known):
                self._append(item, known.node)
            return
        partner = self._unstable_search_or_insert(frame, item)
        if partner is None:
            return
        other = partner.mm.frame(partner.page)
        folio = frame.folio if frame.folio is other.folio else None
        if self._pair_merge(item, frame, partner, other, pinned=folio):
            new = self.stable.insert(frame)
            self._append(partner, new)
            self._append(item, new)
        elif folio is not None:
            self.memory.split(folio)

    def _detach(self, item: Item) -> None:
        if item.node is not None:
            node = item.node
            if node.stale:
                self.stable.purge(node)
                return
            node.items.remove(item)
            if node.items:
                self.sharing -= 1
            else:
                self.shared -= 1
            item.leave_node()
        elif item.place is not None:
            age = (self.seq - item.seq) % 256
            assert age in (0, 1)
            if age == 0:
                self.unstable.erase(item.place)
            item.place = None
            self.unshared -= 1

    def _append(self, item: Item, node: Node) -> None:
        if node.items:
            self.sharing += 1
        else:
            self.shared += 1
        node.items.insert(0, item)
        item.node = node
        item.mm.merging_pages += 1

    def compare(self, one: Frame, other: Frame) -> int:
        """Negative, 0 or positive as memcmp of the two; counted."""
        self.comparisons += 1
        a, b = sorted((one.content, other.content))
        self.compared_bytes += 4096 if a == b else 1 + min(self.lcp[a + 1 : b + 1])
        return one.content - other.content

    def _unstable_search_or_insert(self, frame: Frame, item: Item) -> Item | None:
        place, parent, left = self.unstable.root, None, False
        while place is not None:
            other: Item = place.element
            there = other.mm.frame(other.page) if other.mm.alive and other.mm.mergeable(other.page) else None
            if there is None or there is frame:
                return None
            order = self.compare(frame, there)
            if order == 0:
                return other
            parent, left = place, order < 0
            place = place.left if left else place.right
        item.place = Place(item)
        item.seq = self.seq % 256
        self.unstable.link(item.place, parent, left=left)
        self.unshared += 1
        return None

    def _merge_pte(self, item: Item, frame: Frame, target: Frame | str | None, pinned: Folio | None = None) -> bool:
        """Redirect the item's entry from `frame`; None turns the frame itself into KSM's."""
        if frame is target:
            return True
        if frame.folio is not None:
            if frame.folio is pinned:
                return False
            self.memory.split(frame.folio)
        if item.mm.frame(item.page) is not frame:
            return False
        if target is None:
            frame.ksm = True
            frame.node = None
            return True
        if target == KSM_ZERO:
            if frame.content != 0:
                return False
            self.memory.set_zero(item.mm, item.page, KSM_ZERO)
        else:
            if frame.content != target.content:
                return False
            self.memory.set_frame(item.mm, item.page, target)
        self.merges += 1
        return True

    def _adopt(self, item: Item, frame: Frame, target: Frame | None, pinned: Folio | None = None) -> bool:
        if not (item.mm.alive and item.mm.mergeable(item.page)):
            return False
        if not self._merge_pte(item, frame, target, pinned):
            return False
        self._detach(item)
        return True

    def _pair_merge(self, item: Item, frame: Frame, partner: Item, other: Frame, pinned: Folio | None) -> bool:
        if not self._adopt(item, frame, None, pinned):
            return False
        if self._adopt(partner, other, frame):
            return True
        self.memory.unshare(item.mm, item.page)
        return False

    def counters(self) -> dict[str, int]:
        """What the kernel's files would print, and the work done."""
        zero = self.memory.ksm_zero_pages
        return {
            "full_scans": self.seq,
            "pages_scanned": self.scanned,
            "pages_shared": self.shared,
            "pages_sharing": self.sharing,
            "pages_unshared": self.unshared,
            "pages_volatile": max(0, self.rmap_items - self.shared - self.sharing - self.unshared),
            "pages_skipped": self.skipped,
            "ksm_zero_pages": zero,
            "stable_node_chains": self.stable.chains,
            "stable_node_dups": self.stable.dups,
            "general_profit": (self.sharing + zero) * 4096 - self.rmap_items * 64,
            "checksums": self.checksums,
            "comparisons": self.comparisons,
            "compared_bytes": self.compared_bytes,
            "merges": self.merges,
            "cpu_ns": 0,
        }
