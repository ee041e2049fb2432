"""KSM in plain Python, after the specification and slow: state, ring, scan and smart scan (its sections 1, 2 and 5).

`process.py` has what happens to one page (3), `stable.py` the stable tree (3.3, 3.4, 3.10, 4), `advisor.py` the advisor
(6), `tuning.py` the stores (8.12). Releases other than the newest differ where `features` is asked (11).
"""

from __future__ import annotations

from ksmbench.designs.ksm.features import Features
from tests.naive.advisor import U32, Advisor
from tests.naive.memory import Frame, Memory, Mm
from tests.naive.process import detach, process
from tests.naive.stable import Node, Stable
from tests.naive.tree import Place, Tree
from tests.naive.work import Search, Work


def defaults(features: Features) -> dict[str, int]:
    """The files that a release has, with its defaults."""
    files = {"run": 1, "pages_to_scan": 100, "sleep_millisecs": 20}
    if features.smart_scan:
        files["smart_scan"] = 1
    if features.zero_pages:
        files["use_zero_pages"] = 0
    if features.chains:
        files |= {"max_page_sharing": 256, "stable_node_chains_prune_millisecs": 2000}
    if features.numa:
        files["merge_across_nodes"] = 1
    if features.advisor:
        files |= {"advisor_mode": 0, "advisor_max_cpu": 70, "advisor_target_scan_time": 200}
        files |= {"advisor_min_pages_to_scan": 500, "advisor_max_pages_to_scan": 30000}
    if features.pages_scanned_bug:
        files["pages_scanned_bug"] = int(features.pages_scanned_bug == 2)
    return files


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
        self.numa = 0  # the node whose tree that is

    def forget(self) -> None:
        """What shares storage with the reverse map of a merged page is lost (7.3)."""
        self.checksum, self.age, self.remaining_skips = None, 0, 0


class Slot:
    """A registered mm in the ring."""

    def __init__(self, mm: Mm) -> None:
        self.mm = mm
        self.items: dict[int, Item] = {}  # by page


class Ksm:
    """The state of KSM; `ring` is the order after its head."""

    def __init__(
        self,
        memory: Memory,
        lcp: list[int],
        checksums: list[int],
        features: Features,
        settings: dict[str, int],
        tables: list[set[int]],
    ) -> None:
        self.tables = tables  # of each mm by its number, the page tables that are taken to be there
        self.memory = memory
        self.features = features
        self.lcp = lcp
        self.checksum_of = checksums
        self.settings = {**defaults(features), **settings}
        self.now = 0
        self.ring: list[Slot] = []
        self.cursor: Slot | None = None  # None: the head
        self.pos = 0  # next page at the cursor
        self.after = -1  # the last page claimed in this visit
        self.seq = 0
        self.stable = Stable(self)
        self.unstable: dict[int, Tree] = {}  # by NUMA node
        self.advisor = Advisor()
        self.shared = self.sharing = self.unshared = self.rmap_items = 0
        self.scanned = self.skipped = 0
        self.processed = 0  # what pages_scanned would be without its bug
        self.work = Work()
        self.cpu_ns = 0
        if self.settings.get("advisor_mode"):
            self.settings["pages_to_scan"] = self.settings["advisor_min_pages_to_scan"] & U32

    def tree_number(self, frame: Frame) -> int:
        """The node whose trees hold the frame: all share one while nodes do not matter."""
        return 0 if self.settings.get("merge_across_nodes", 1) else frame.numa

    # -- 1.2 the ring ----------------------------------------------------------------------------------------------

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
        """The hook of a dying mm (8.5)."""
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

    # -- 2 the scan ------------------------------------------------------------------------------------------------

    def may_scan(self) -> bool:
        """Whether ksmd has anything to do."""
        return self.settings["run"] == 1 and bool(self.ring)

    def batch(self, now: int) -> None:
        """2.2: one wake-up of ksmd."""
        self.now = now
        budget = self.settings["pages_to_scan"]
        wrong = self.settings.get("pages_scanned_bug", 0)
        for _ in range(budget):
            found = self._next_page()
            if found is None:
                return
            process(self, *found)
            self.processed += 1
            self.scanned += not wrong
        if wrong:
            self.scanned += budget + 1

    def _visit(self, slot: Slot) -> None:
        self.cursor, self.pos, self.after = slot, 0, -1

    def _next_page(self) -> tuple[Item, Frame] | None:
        """2.3."""
        if not self.ring:
            return None
        if self.cursor is None:
            if self.settings.get("advisor_mode"):
                self.advisor.start = self.now
            if not self.settings.get("merge_across_nodes", 1):
                self.stable.probe_parked()
            self.unstable = {}
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
                self._drop(slot)
            else:
                place += 1
            if place == len(self.ring):
                self.cursor = None
                self.seq += 1
                return None
            self._visit(self.ring[place])

    def _drop(self, slot: Slot) -> None:
        """2.4."""
        self.ring.remove(slot)
        slot.mm.slot = None
        if not self.features.merge_any_survives:
            slot.mm.merge_any = False

    def _next_in(self, slot: Slot) -> tuple[Item, Frame] | None:
        mm = slot.mm
        for page in sorted(page for page in mm.areas if page >= self.pos and mm.mergeable(page)):
            self.pos = page + 1
            frame = mm.frame(page)
            if frame is None:
                self._pass_empty(mm, page)
                continue
            item = self._claim(slot, page)
            if not self._smart_skip(frame, item):
                return item, frame
        return None

    def _pass_empty(self, mm: Mm, page: int) -> None:
        """11, range walk: before it every address is a step; with it what a page table holds, and a missing table."""
        if not self.features.range_walk:
            self.work.empty_addresses += 1
        elif page // 512 in self.tables[mm.number] or page % 512 == 0:
            self.work.empty_entries += 1

    def _claim(self, slot: Slot, page: int) -> Item:
        for old in sorted(slot.items):
            if self.after < old < page:
                self.free(slot, old)
        self.after = page
        if page not in slot.items:
            slot.items[page] = Item(slot.mm, page)
            self.rmap_items += 1
            self.work.items_made += 1
            slot.mm.rmap_items += 1
        return slot.items[page]

    def free(self, slot: Slot, page: int) -> None:
        """Detach and free the item of a page."""
        detach(self, slot.items.pop(page))
        self.rmap_items -= 1
        self.work.items_freed += 1
        slot.mm.rmap_items -= 1

    def _smart_skip(self, frame: Frame, item: Item) -> bool:
        """5."""
        if not self.settings.get("smart_scan", 0) or frame.ksm:
            return False
        if self.features.stable_forgets and item.node is not None:
            return False  # its age is not there, and a page that was copied is never skipped
        age = item.age
        item.age = min(255, age + 1)
        if age < 3:
            return False
        if item.remaining_skips == 0:
            item.remaining_skips = 1 if age <= 3 else 2 if age <= 5 else 4 if age <= 8 else 8
            return False
        self.skipped += 1
        item.remaining_skips -= 1
        detach(self, item)
        return True

    def compare(self, search: Search, one: Frame, other: Frame) -> int:
        """Negative, 0 or positive as memcmp of the two; counted."""
        a, b = sorted((one.content, other.content))
        self.work.compare(search, 4096 if a == b else 1 + min(self.lcp[a + 1 : b + 1]))
        return one.content - other.content

    def counters(self) -> dict[str, int]:
        """7: what the kernel's files would print, and the work done."""
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
            "cpu_ns": self.cpu_ns,
            **self.work.counters(),
        }
