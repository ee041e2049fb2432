"""The stable trees: nodes, chains of nodes with equal content, and how a lookup finds out what is stale.

Sections 3.3, 3.4, 3.10 and 4 of the specification. What it leaves open about merge_across_nodes=0 is inferred: a node
whose frame has moved to another NUMA node is parked when its page is visited or another page is found equal to it, and
comes into the tree of its new node at the next visit of one of its pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.naive.memory import Frame
from tests.naive.process import leave_node
from tests.naive.tree import Place, Tree

if TYPE_CHECKING:
    from tests.naive.ksm import Item, Ksm


class Node:
    """A stable node: one KSM frame and the items that are counted on it."""

    def __init__(self, frame: Frame, numa: int) -> None:
        self.frame = frame
        self.numa = numa  # whose tree it is in
        self.parked = False  # in none
        self.items: list[Item] = []
        self.chain: Chain | None = None
        self.place: Place | None = None  # in the tree; None on a chain

    @property
    def stale(self) -> bool:
        """Whether the frame is gone, or another node's or nobody's."""
        return not self.frame.mappings or self.frame.node is not self


class Chain:
    """A tree element whose nodes all have the same content."""

    def __init__(self, stamp: int, numa: int) -> None:
        self.dups: list[Node] = []
        self.stamp = stamp  # ns, when it was pruned last
        self.numa = numa
        self.place: Place | None = None


class Stable:
    """The trees, one per NUMA node or one for all, and the nodes that wait for a tree."""

    def __init__(self, ksm: Ksm) -> None:
        self.ksm = ksm
        self.trees: dict[int, Tree] = {}
        self.parked: list[Node] = []
        self.chains = 0
        self.dups = 0

    def candidate(self, node: Node) -> bool:
        """4.1: whether the node may take another item."""
        if not self.ksm.features.chains:
            return True
        return 1 <= len(node.items) < self.ksm.settings["max_page_sharing"]

    def purge(self, node: Node) -> None:
        """3.3: take away a node whose frame is gone, with its items."""
        for item in node.items[:-1]:
            self.ksm.sharing -= 1
            leave_node(self.ksm, item)
        for item in node.items[-1:]:
            self.ksm.shared -= 1
            leave_node(self.ksm, item)
        node.items = []
        self.ksm.work.nodes_pruned += 1
        self.remove(node)

    def remove(self, node: Node) -> None:
        """Take an empty node away from wherever it is."""
        self._take_out(node)
        if node.frame.node is node:
            node.frame.node = None

    def _take_out(self, node: Node) -> None:
        if node.parked:
            self.parked.remove(node)
            node.parked = False
        elif node.chain is not None:
            node.chain.dups.remove(node)
            node.chain = None
            self.dups -= 1
        else:
            self.trees[node.numa].erase(node.place)
            node.place = None

    def park(self, node: Node) -> None:
        """Its frame is on another NUMA node than its tree."""
        self._take_out(node)
        node.parked = True
        self.parked.append(node)

    def probe_parked(self) -> None:
        """At the start of a full scan: the parked nodes whose frames are gone vanish."""
        for node in list(self.parked):
            if node.stale:
                self.purge(node)

    def search(self, frame: Frame) -> Frame | None:
        """3.4: the KSM frame with the same content that has room."""
        node = frame.node if frame.ksm else None
        if node is not None and not node.parked:
            return frame
        found = self._descend(frame, may_prune=True)
        if found is None:
            return None
        equal, parent, left = found
        if equal is not None:
            return self._search_found(frame, node, equal)
        if node is None:
            return None
        self._unpark(node)
        node.place = Place(node)
        self.trees[node.numa].link(node.place, parent, left=left)
        return frame if self.candidate(node) else None

    def _search_found(self, frame: Frame, node: Node | None, equal: Node) -> Frame | None:
        """`node`: the parked one of the frame itself, if it has one."""
        if node is not None and self.ksm.features.chains and len(frame.mappings) > 1:
            self._unpark(node)
            self._add_dup(node, equal)
            return frame if self.candidate(node) else None
        if not self.candidate(equal):
            return None
        if self.ksm.tree_number(equal.frame) == equal.numa:
            return equal.frame
        if node is None:
            self.park(equal)
            return None
        self._unpark(node)
        if equal.chain is not None:
            self._add_dup(node, equal)
            self.park(equal)
        else:
            node.place, equal.place = equal.place, None
            node.place.element = node
            equal.parked = True
            self.parked.append(equal)
        return frame if self.candidate(node) else None

    def _unpark(self, node: Node) -> None:
        self._take_out(node)
        node.numa = self.ksm.tree_number(node.frame)

    def insert(self, frame: Frame) -> Node | None:
        """3.10: a node for the frame, also where its content is there already; None where an old release gives up."""
        found = self._descend(frame, may_prune=False)
        if found is None:
            return None
        equal, parent, left = found
        if equal is not None and not self.ksm.features.chains:
            return None
        new = Node(frame, self.ksm.tree_number(frame))
        self.ksm.work.nodes_made += 1
        frame.node = new
        if equal is None:
            new.place = Place(new)
            self.trees[new.numa].link(new.place, parent, left=left)
        else:
            self._add_dup(new, equal)
        return new

    def _add_dup(self, new: Node, equal: Node) -> None:
        """4.3: a dup beside `equal`, at the front of its chain, which is made where there is none."""
        if equal.chain is None:
            chain = Chain(self.ksm.now, equal.numa)
            chain.place, equal.place = equal.place, None
            chain.place.element = chain
            chain.dups.append(equal)
            equal.chain = chain
            self.chains += 1
            self.dups += 1
        equal.chain.dups.insert(0, new)
        new.chain = equal.chain
        self.dups += 1

    def _descend(self, frame: Frame, *, may_prune: bool) -> tuple[Node | None, Place | None, bool] | None:
        """The representative with equal content, or None with the leaf: its parent, and whether left of it.

        None as a whole where an old release met a stale node and does not begin again.
        """
        tree = self.trees.setdefault(self.ksm.tree_number(frame), Tree())
        search = self.ksm.work.begin_search("stable")
        place, parent, left = tree.root, None, False
        while place is not None:
            node = self._resolve(place, may_prune=may_prune)
            if node is None:
                if not self.ksm.features.restarts_on_stale:
                    return None
                place, parent, left = tree.root, None, False
                continue
            order = self.ksm.compare(search, frame, node.frame)
            if order == 0:
                return node, parent, left
            parent, left = place, order < 0
            place = place.left if left else place.right
        return None, parent, left

    def _resolve(self, place: Place, *, may_prune: bool) -> Node | None:
        """A living node of the tree element; None if there was none and the walk must begin again."""
        element = place.element
        if isinstance(element, Chain):
            if self.ksm.features.chain_takes_any:
                return self._select(element, may_prune=may_prune)
            return self._select_candidate(element, may_prune=may_prune)
        if element.stale:
            self.purge(element)
            return None
        return element

    def _may_prune_now(self, chain: Chain) -> bool:
        limit = self.ksm.settings["stable_node_chains_prune_millisecs"] * 1_000_000
        if self.ksm.now < chain.stamp + limit:
            return False
        chain.stamp = self.ksm.now
        return True

    def _select(self, chain: Chain, *, may_prune: bool) -> Node | None:
        """4.2."""
        prune = may_prune and self._may_prune_now(chain)
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
            self._collapse(chain, found)
        else:
            self._to_front(chain, found)
        return found

    def _select_candidate(self, chain: Chain, *, may_prune: bool) -> Node | None:
        """11, before 6.11: only candidates are chosen from; without any the first dup stands for the chain."""
        prune = may_prune and self._may_prune_now(chain)
        found: Node | None = None
        for dup in list(chain.dups):
            if dup.stale:
                self.purge(dup)
            elif self.candidate(dup) and (found is None or len(dup.items) > len(found.items)):
                found = dup
                if not prune:
                    break
        if found is not None:
            if prune and chain.dups == [found]:
                self._collapse(chain, found)
            else:
                self._to_front(chain, found)
            return found
        if not chain.dups:
            self.remove_chain(chain)
            return None
        return chain.dups[0]

    def _collapse(self, chain: Chain, last: Node) -> None:
        last.chain = None
        last.place = chain.place
        last.place.element = last
        self.chains -= 1
        self.dups -= 1

    def _to_front(self, chain: Chain, dup: Node) -> None:
        if dup is not chain.dups[0] and 1 <= len(dup.items) < self.ksm.settings["max_page_sharing"] - 1:
            chain.dups.remove(dup)
            chain.dups.insert(0, dup)

    def remove_chain(self, chain: Chain) -> None:
        """Take a chain without nodes out of the tree."""
        self.trees[chain.numa].erase(chain.place)
        chain.place = None
        self.chains -= 1

    def remove_leftovers(self) -> bool:
        """Drop the nodes of each tree from its root on until one is still mapped, and the parked ones that are not.

        Whether all are gone.
        """
        done = all([self._remove_tree(number) for number in sorted(self.trees)])
        self.probe_parked()
        return done and not self.parked

    def _remove_tree(self, number: int) -> bool:
        tree = self.trees[number]
        while tree.root is not None:
            element = tree.root.element
            for node in list(element.dups) if isinstance(element, Chain) else [element]:
                if not node.stale:
                    return False
                self.purge(node)
            if isinstance(element, Chain):
                self.remove_chain(element)
        return True
