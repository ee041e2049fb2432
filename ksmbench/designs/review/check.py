"""Recounts what the designs of 2009 keep incrementally."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.designs.review import state as at
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ALIVE,
    BASE,
    DEAD_MAPS,
    END,
    FRAME,
    LOST,
    MAPCOUNT,
    NEXT_FRAME,
    NODE,
    NODE_ROWS,
    ROWS,
    Machine,
)
from ksmbench.engine.memory import KSM_WITHOUT_NODE
from ksmbench.engine.rbtree import LEFT, RIGHT


def _tree_nodes(rows: npt.NDArray[np.int32], root: int) -> list[int]:
    # In order.
    found: list[int] = []
    above: list[int] = []
    node = root
    while node >= 0 or above:
        while node >= 0:
            above.append(node)
            node = int(rows[node, LEFT])
        node = above.pop()
        found.append(node)
        node = int(rows[node, RIGHT])
    return found


def _lists(machine: Machine, elements: list[int]) -> tuple[list[int], list[str]]:
    # The items of all elements, and what is wrong with their lists.
    items, wrong = [], []
    for n in elements:
        before, e = -1, int(machine[at.ELEMENT_HEAD][n])
        if e < 0:
            wrong.append(f"element {n} is empty")
        while e >= 0:
            if machine[at.ITEM_PREV][e] != before or machine[at.ITEM_ELEMENT][e] != n:
                wrong.append(f"item {e} is linked wrongly")
                break
            items.append(e)
            before, e = e, int(machine[at.ITEM_NEXT][e])
    return items, wrong


def _places(machine: Machine) -> list[str]:
    listed = set(np.flatnonzero(machine[at.LISTED]).tolist())
    seen = set()
    place = int(machine[at.PLACE_NEXT][at.HEAD])
    while place != at.HEAD and place not in seen:
        seen.add(place)
        place = int(machine[at.PLACE_NEXT][place])
    return [] if seen == listed else [f"listed places {sorted(listed)[:9]}, on the list {sorted(seen)[:9]}"]


def check_review(machine: Machine) -> list[str]:
    """Sentences about what a recount of items, trees, lost and dead pages finds wrong."""
    wrong: list[str] = []
    m = machine.m

    def expect(what: str, kept: Any, counted: Any) -> None:
        if not np.array_equal(kept, counted):
            wrong.append(f"{what}: kept {kept}, counted {counted}")

    state, frame = machine[at.ITEM_STATE], machine[FRAME]
    merged = (frame >= 0) & (machine[NODE][frame] == KSM_WITHOUT_NODE)
    tracked = state & at.TRACKED != 0
    elements = _tree_nodes(machine[NODE_ROWS], int(machine[at.ROOTS][at.STABLE_TREE]))
    items, broken = _lists(machine, elements)
    wrong += broken + _places(machine)
    expect("stable items", sorted(items), np.flatnonzero(state & at.STABLE).tolist())
    outside = int(np.count_nonzero(state & at.OUTSIDE))
    expect("elements", m[at.NEXT_ELEMENT] - m[at.ELEMENT_FREE_TOP], len(elements))
    expect("pages_shared", m[Counter.PAGES_SHARED], len(elements))
    expect("pages_sharing", m[Counter.PAGES_SHARING], len(items) + outside - len(elements))
    expect("kernel_pages_counted", m[Counter.KERNEL_PAGES_COUNTED], len(elements) + outside)
    expect("pages_unshared", m[Counter.PAGES_UNSHARED], np.count_nonzero(state & at.UNSTABLE))
    current = np.flatnonzero((state & at.UNSTABLE != 0) & (machine[at.ITEM_PASS] == m[at.PASS]))
    in_tree = _tree_nodes(machine[ROWS], int(machine[at.ROOTS][at.UNSTABLE_TREE]))
    expect("unstable tree", sorted(in_tree), current.tolist())
    lost = machine[LOST]
    expect("lost", np.flatnonzero(lost).tolist(), np.flatnonzero(merged & ~tracked).tolist())
    for cause in range(1, 5):
        expect(f"lost by {cause}", m[Counter.LOST_PTES + cause], np.count_nonzero(lost == cause))
    expect("lost_ptes", m[Counter.LOST_PTES], np.count_nonzero(lost))
    expect("rmap items", m[Counter.RMAP_ITEMS], np.count_nonzero(state) + machine[at.HOLE_ITEMS].sum())
    expect("slot items", machine[at.SLOT_ITEMS].sum(), m[Counter.RMAP_ITEMS])
    n = int(m[NEXT_FRAME])
    dead = np.zeros(len(frame), bool)
    for mm in np.flatnonzero(machine[ALIVE] == 0):
        dead[machine[BASE][mm] : machine[END][mm]] = True
    dead_maps = np.bincount(frame[dead & (frame >= 0)], minlength=n)
    expect("dead maps", machine[DEAD_MAPS][:n], dead_maps)
    expect(
        "dead_pages", m[Counter.DEAD_PAGES], np.count_nonzero((dead_maps > 0) & (dead_maps == machine[MAPCOUNT][:n]))
    )
    return wrong
