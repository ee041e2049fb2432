"""Recounts KSM's structures from scratch and compares them with what is kept incrementally."""

import numpy as np

from ksmbench.designs.ksm import state as at
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import CONTENT, MAPCOUNT, NODE, NODE_ROWS, ROWS, Machine
from ksmbench.engine.memory import STALE
from ksmbench.engine.rbtree import KEY, LEFT, RED, RIGHT, UP


def _tree_nodes(rows: np.ndarray, root: int, wrong: list[str], what: str) -> list[int]:
    # Checks parents, colours and black heights on the way, without recursion.
    found: list[int] = []
    heights: dict[int, int] = {-1: 1}
    stack = [(root, -1, False)]
    while stack:
        n, above, seen = stack.pop()
        if n < 0:
            continue
        left, right = int(rows[n, LEFT]), int(rows[n, RIGHT])
        if not seen:
            if int(rows[n, UP]) >> 1 != above:
                wrong.append(f"{what}: parent of {n}")
            if rows[n, UP] & 1 == RED and (above < 0 or rows[above, UP] & 1 == RED):
                wrong.append(f"{what}: red {n} below red")
            stack += [(n, above, True), (right, n, False), (left, n, False)]
            continue
        if heights[left] != heights[right]:
            wrong.append(f"{what}: black heights below {n}")
        heights[n] = heights[left] + int(rows[n, UP] & 1 != RED)
        found.append(n)
    return found


def _list(head: int, following: np.ndarray) -> list[int]:
    members = []
    while head >= 0:
        members.append(head)
        head = int(following[head])
    return members


def _check_stable(machine: Machine, wrong: list[str]) -> dict[Counter, int]:
    m, rows = machine.m, machine[NODE_ROWS]
    chain_of, head, frames = machine[at.NODE_CHAIN], machine[at.NODE_HEAD], machine[at.NODE_FRAME]
    numa = machine[at.NODE_NUMA]
    elements: list[int] = []
    for node, root in enumerate(machine[at.ROOTS][at.STABLE_TREE :: 2].tolist()):
        members = _tree_nodes(rows, root, wrong, f"stable tree of NUMA node {node}")
        elements += members
        if any(numa[n] != node for n in members):
            wrong.append(f"stable tree of NUMA node {node}: a node of another's")
    chains = [n for n in elements if rows[n, KEY] == at.CHAIN]
    dups = {n: _list(int(head[n]), machine[at.NODE_NEXT]) for n in chains}
    plain = [n for n in elements if rows[n, KEY] != at.CHAIN]
    for chain, members in dups.items():
        if any(chain_of[n] != chain or numa[n] != numa[chain] for n in members):
            wrong.append(f"chain {chain}: a dup belongs to another")
        if len({int(rows[n, KEY]) for n in members} - {STALE}) > 1:
            wrong.append(f"chain {chain}: dups of different contents")
    parked = _list(int(m[at.PARKED]), machine[at.NODE_NEXT])
    if any(numa[n] != at.NO_TREE or chain_of[n] >= 0 for n in parked) or (parked and m[at.MERGE_ACROSS_NODES]):
        wrong.append("parked nodes: one is in a tree, or none should be there")
    live = plain + [n for members in dups.values() for n in members] + parked
    kept = int(m[at.NEXT_NODE] - m[at.NODE_FREE_TOP])
    if len(live) + len(chains) != kept:
        wrong.append(f"stable nodes: {kept} kept, {len(live) + len(chains)} reached")
    shared = sharing = 0
    for n in live:
        members = _list(int(head[n]), machine[at.ITEM_NEXT])
        shared += bool(members)
        sharing += max(0, len(members) - 1)
        if len(members) != machine[at.NODE_LENGTH][n] or any(machine[at.ITEM_NODE][e] != n for e in members):
            wrong.append(f"node {n}: length {machine[at.NODE_LENGTH][n]}, list of {len(members)}")
        frame = int(frames[n])
        key = int(rows[n, KEY])
        if key != STALE and (
            machine[NODE][frame] != n or machine[CONTENT][frame] != key or machine[MAPCOUNT][frame] == 0
        ):
            wrong.append(f"node {n}: its frame {frame} is not its own")
    return {
        Counter.PAGES_SHARED: shared,
        Counter.PAGES_SHARING: sharing,
        Counter.STABLE_NODE_CHAINS: len(chains),
        Counter.STABLE_NODE_DUPS: sum(len(members) for members in dups.values()),
    }


def check_ksm(machine: Machine) -> list[str]:
    """Sentences about what is wrong in KSM's structures; none where all is well."""
    wrong: list[str] = []
    m, state = machine.m, machine[at.ITEM_STATE]
    expected = _check_stable(machine, wrong)
    expected[Counter.PAGES_UNSHARED] = int(np.count_nonzero(state & at.UNSTABLE))
    expected[Counter.RMAP_ITEMS] = int(np.count_nonzero(state & at.EXISTS))
    for counter, value in expected.items():
        if m[counter] != value:
            wrong.append(f"{counter.name.lower()}: kept {m[counter]}, counted {value}")
    if int(machine[at.SLOT_ITEMS].sum()) != expected[Counter.RMAP_ITEMS]:
        wrong.append("ksm_rmap_items of the mms do not add up")
    if int(machine[at.SLOT_MERGING].sum()) != expected[Counter.PAGES_SHARED] + expected[Counter.PAGES_SHARING]:
        wrong.append("ksm_merging_pages of the mms do not add up")
    seq = int(m[at.SEQ]) & 0xFF
    inside = (state & at.UNSTABLE != 0) & (machine[at.ITEM_SEQ] == seq)
    numa = machine[at.ITEM_NUMA] if len(machine[at.ITEM_NUMA]) else np.zeros(len(state), np.uint8)
    in_pass = m[at.CURSOR] != len(machine[at.REGISTERED])  # between passes the trees are yet to be dropped
    for node, root in enumerate(machine[at.ROOTS][at.UNSTABLE_TREE :: 2].tolist()):
        tree = _tree_nodes(machine[ROWS], root, wrong, f"unstable tree of NUMA node {node}")
        if in_pass and sorted(tree) != np.flatnonzero(inside & (numa == node)).tolist():
            wrong.append(f"unstable tree of NUMA node {node}: members differ from the items marked so in this pass")
    return wrong
