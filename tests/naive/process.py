"""What KSM does with one page (section 3 of the specification; its names)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.naive.memory import KSM_ZERO, Folio, Frame
from tests.naive.tree import Place, Tree

if TYPE_CHECKING:
    from tests.naive.ksm import Item, Ksm
    from tests.naive.stable import Node


def process(ksm: Ksm, item: Item, frame: Frame) -> None:
    """3.1."""
    node = frame.node if frame.ksm else None
    if node is not None:
        if not node.parked and ksm.tree_number(frame) != node.numa:
            ksm.stable.park(node)
        on_node = item.node is node if ksm.features.skips_own_node_only else item.node is not None
        if on_node and not node.parked:
            return
    if ksm.features.checksum_first and node is None:
        detach(ksm, item)
        if _ends_at_checksum(ksm, item, frame):
            return
    known = ksm.stable.search(frame)
    if known is frame and item.node is node:
        return  # a node that was parked is in a tree again
    detach(ksm, item)
    if known is not None:
        if _adopt(ksm, item, frame, known):
            _append(ksm, item, known.node)
        return
    if not ksm.features.checksum_first and _ends_at_checksum(ksm, item, frame):
        return
    partner = _unstable_search_or_insert(ksm, frame, item)
    if partner is not None:
        _pair(ksm, item, frame, partner)


def _ends_at_checksum(ksm: Ksm, item: Item, frame: Frame) -> bool:
    """Whether the page changed since its last visit, or was merged with the zero page."""
    ksm.work.checksums += 1
    checksum = ksm.checksum_of[frame.content]
    if item.checksum != checksum:
        item.checksum = checksum
        return True
    if not ksm.settings.get("use_zero_pages", 0) or checksum != ksm.checksum_of[0]:
        return False
    if not (item.mm.alive and item.mm.mergeable(item.page)):
        return True
    return _merge_pte(ksm, item, frame, KSM_ZERO)


def _pair(ksm: Ksm, item: Item, frame: Frame, partner: Item) -> None:
    """The end of 3.1: two equal pages, the partner's from the unstable tree."""
    other = partner.mm.frame(partner.page)
    folio = frame.folio if frame.folio is other.folio else None
    pinned = folio if ksm.features.split_needs_no_pins else None
    if _pair_merge(ksm, item, frame, partner, other, pinned):
        new = ksm.stable.insert(frame)
        if new is not None:
            _append(ksm, partner, new)
            _append(ksm, item, new)
        else:
            _break(ksm, partner)
            _break(ksm, item)
    elif pinned is not None and ksm.features.splits_same_huge:
        ksm.memory.split(pinned)


def detach(ksm: Ksm, item: Item) -> None:
    """3.2."""
    if item.node is not None:
        node = item.node
        if node.stale:
            ksm.stable.purge(node)
            return
        node.items.remove(item)
        if node.items:
            ksm.sharing -= 1
        else:
            ksm.shared -= 1
        leave_node(ksm, item)
    elif item.place is not None:
        age = (ksm.seq - item.seq) % 256
        assert age in (0, 1)
        if age == 0:
            ksm.unstable[item.numa].erase(item.place)
        item.place = None
        ksm.unshared -= 1


def leave_node(ksm: Ksm, item: Item) -> None:
    """The item is on no stable node any more."""
    item.node = None
    item.mm.merging_pages -= 1
    if ksm.features.stable_forgets:
        item.forget()


def _break(ksm: Ksm, item: Item) -> None:
    """8.6 for an item whose merge came to nothing."""
    ksm.memory.unshare(item.mm, item.page)
    if ksm.features.stable_forgets:
        item.forget()


def _append(ksm: Ksm, item: Item, node: Node) -> None:
    """3.8."""
    if node.items:
        ksm.sharing += 1
    else:
        ksm.shared += 1
    node.items.insert(0, item)
    item.node = node
    item.mm.merging_pages += 1


def _unstable_search_or_insert(ksm: Ksm, frame: Frame, item: Item) -> Item | None:
    """3.5."""
    number = ksm.tree_number(frame)
    tree = ksm.unstable.setdefault(number, Tree())
    search = ksm.work.begin_search("unstable")
    place, parent, left = tree.root, None, False
    while place is not None:
        other: Item = place.element
        there = other.mm.frame(other.page) if other.mm.alive and other.mm.mergeable(other.page) else None
        if there is None or there is frame:
            return None
        order = ksm.compare(search, frame, there)
        if order == 0:
            return other if ksm.tree_number(there) == number else None
        parent, left = place, order < 0
        place = place.left if left else place.right
    item.place = Place(item)
    item.seq = ksm.seq % 256
    item.numa = number
    tree.link(item.place, parent, left=left)
    ksm.unshared += 1
    return None


def _merge_pte(ksm: Ksm, item: Item, frame: Frame, target: Frame | str | None, pinned: Folio | None = None) -> bool:
    """3.6: redirect the item's entry from `frame`; None turns the frame itself into KSM's."""
    if frame is target:
        return True
    if frame.ksm:
        return False  # seen on 7.3.4: a merged frame is never merged into another
    if frame.folio is not None:
        if frame.folio is pinned:
            return False
        ksm.memory.split(frame.folio)
    if item.mm.frame(item.page) is not frame:
        return False
    if target is None:
        frame.ksm = True
        frame.node = None
        return True
    if target == KSM_ZERO:
        if frame.content != 0:
            return False
        ksm.memory.put_zero(item.mm, item.page)
    else:
        if frame.content != target.content:
            return False
        ksm.memory.set_frame(item.mm, item.page, target)
    ksm.work.merges += 1
    return True


def _adopt(ksm: Ksm, item: Item, frame: Frame, target: Frame | None, pinned: Folio | None = None) -> bool:
    """3.7."""
    if not (item.mm.alive and item.mm.mergeable(item.page)):
        return False
    if not _merge_pte(ksm, item, frame, target, pinned):
        return False
    detach(ksm, item)
    return True


def _pair_merge(ksm: Ksm, item: Item, frame: Frame, partner: Item, other: Frame, pinned: Folio | None) -> bool:
    """3.9."""
    if not _adopt(ksm, item, frame, None, pinned):
        return False
    if _adopt(ksm, partner, other, frame):
        return True
    _break(ksm, item)
    return False
