"""The stable tree: nodes, chains of nodes with equal content, and how a lookup finds out what is stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.naive.memory import Frame
from tests.naive.tree import Place, Tree

if TYPE_CHECKING:
    from tests.naive.ksm import Item, Ksm


class Node:
    """A stable node: one KSM frame and the items that are counted on it."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.items: list[Item] = []
        self.chain: Chain | None = None
        self.place: Place | None = None  # in the tree; None on a chain

    @property
    def stale(self) -> bool:
        """Whether the frame is gone."""
        return not self.frame.mappings


class Chain:
    """A tree element whose nodes all have the same content."""

    def __init__(self, stamp: int) -> None:
        self.dups: list[Node] = []
        self.stamp = stamp  # ns, when it was pruned last
        self.place: Place | None = None


class Stable:
    """The tree."""

    def __init__(self, ksm: Ksm) -> None:
        self.ksm = ksm
        self.tree = Tree()
        self.chains = 0
        self.dups = 0

    def candidate(self, node: Node) -> bool:
        """Whether the node may take another item."""
        return 1 <= len(node.items) < self.ksm.settings["max_page_sharing"]

    def purge(self, node: Node) -> None:
        """Take away a node whose frame is gone, with its items."""
        for item in node.items[:-1]:
            self.ksm.sharing -= 1
            item.leave_node()
        for item in node.items[-1:]:
            self.ksm.shared -= 1
            item.leave_node()
        node.items = []
        self.remove(node)

    def remove(self, node: Node) -> None:
        """Take an empty node out of its chain or out of the tree."""
        if node.chain is not None:
            node.chain.dups.remove(node)
            node.chain = None
            self.dups -= 1
        else:
            self.tree.erase(node.place)
            node.place = None
        node.frame.node = None

    def search(self, frame: Frame) -> Frame | None:
        """The KSM frame with the same content that has room."""
        if frame.ksm and frame.node is not None:
            return frame
        node, _, _ = self._descend(frame, may_prune=True)
        if node is None or not self.candidate(node):
            return None
        return node.frame

    def insert(self, frame: Frame) -> Node:
        """A node for the frame, also where its content is there already."""
        equal, parent, left = self._descend(frame, may_prune=False)
        new = Node(frame)
        frame.node = new
        if equal is None:
            new.place = Place(new)
            self.tree.link(new.place, parent, left=left)
            return new
        if equal.chain is None:
            self._make_chain(equal)
        chain = equal.chain
        chain.dups.insert(0, new)
        new.chain = chain
        self.dups += 1
        return new

    def _make_chain(self, node: Node) -> None:
        chain = Chain(self.ksm.now)
        chain.place, node.place = node.place, None
        chain.place.element = chain
        chain.dups.append(node)
        node.chain = chain
        self.chains += 1
        self.dups += 1

    def _descend(self, frame: Frame, *, may_prune: bool) -> tuple[Node | None, Place | None, bool]:
        """The representative with equal content, or None with the leaf: its parent, and whether left of it."""
        place, parent, left = self.tree.root, None, False
        while place is not None:
            node = self._resolve(place, may_prune=may_prune)
            if node is None:
                place, parent, left = self.tree.root, None, False
                continue
            order = self.ksm.compare(frame, node.frame)
            if order == 0:
                return node, parent, left
            parent, left = place, order < 0
            place = place.left if left else place.right
        return None, parent, left

    def _resolve(self, place: Place, *, may_prune: bool) -> Node | None:
        """A living node of the tree element; None if there was none and the walk must begin again."""
        element = place.element
        if isinstance(element, Chain):
            return self._select(element, may_prune=may_prune)
        if element.stale:
            self.purge(element)
            return None
        return element

    def _select(self, chain: Chain, *, may_prune: bool) -> Node | None:
        limit = self.ksm.settings["stable_node_chains_prune_millisecs"] * 1_000_000
        prune = may_prune and self.ksm.now >= chain.stamp + limit
        if prune:
            chain.stamp = self.ksm.now
        found: Node | None = None
        for dup in list(chain.dups):
            if dup.stale:
                self.purge(dup)
                continue
            if found is None or (
                self.candidate(dup) and (not self.candidate(found) or len(dup.items) > len(found.items))
            ):
                found = dup
                if not prune and self.candidate(found):
                    break
        if found is None:
            self.remove_chain(chain)
        elif chain.dups == [found]:
            place = chain.place
            found.chain = None
            found.place, place.element = place, found
            self.chains -= 1
            self.dups -= 1
        elif found is not chain.dups[0] and 1 <= len(found.items) < self.ksm.settings["max_page_sharing"] - 1:
            chain.dups.remove(found)
            chain.dups.insert(0, found)
        return found

    def remove_chain(self, chain: Chain) -> None:
        """Take a chain without nodes out of the tree."""
        self.tree.erase(chain.place)
        chain.place = None
        self.chains -= 1

    def remove_leftovers(self) -> bool:
        """Drop nodes from the root on until one is still mapped; whether all are gone."""
        while self.tree.root is not None:
            element = self.tree.root.element
            for node in list(element.dups) if isinstance(element, Chain) else [element]:
                if not node.stale:
                    return False
                self.purge(node)
            if isinstance(element, Chain):
                self.remove_chain(element)
        return True
