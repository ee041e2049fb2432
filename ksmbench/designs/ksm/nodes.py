"""Stable nodes: where one is, in a tree, on a chain or parked, and the items that map its frame (3.10, 4).

A node holds no reference on its frame: it is stale once the frame is gone, which only a lookup notices.
"""

from ksmbench.designs.ksm.state import (
    CHECKSUMMED,
    EXISTS,
    ITEM_AGE,
    ITEM_NEXT,
    ITEM_NODE,
    ITEM_PREV,
    ITEM_STATE,
    NO_TREE,
    NODE_CHAIN,
    NODE_HEAD,
    NODE_LENGTH,
    NODE_NEXT,
    NODE_NUMA,
    NODE_PREV,
    NULL,
    PARKED,
    REMAINING_SKIPS,
    ROOTS,
    SLOT_MERGING,
    STABLE,
    STABLE_FORGETS,
    free_node,
    mm_of,
    stable_tree_of,
)
from ksmbench.engine import rbtree
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import NODE_ROWS, Vector, i32, i64, tree_rows, u8
from ksmbench.engine.memory import STALE
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import KEY
from ksmbench.jit import Integer


@part
def remove_dup(m: Vector, dup: Integer) -> None:
    """stable_node_dup_del: off its chain, which stays, also without dups, until a lookup frees it."""
    before, after = i32(m, NODE_PREV)[dup], i32(m, NODE_NEXT)[dup]
    if before >= 0:
        i32(m, NODE_NEXT)[before] = after
    else:
        i32(m, NODE_HEAD)[i32(m, NODE_CHAIN)[dup]] = after
    if after >= 0:
        i32(m, NODE_PREV)[after] = before
    i32(m, NODE_CHAIN)[dup] = NULL
    m[Counter.STABLE_NODE_DUPS] -= 1


@part
def forget(m: Vector, e: Integer) -> None:
    """What shares storage with the reverse map of a merged page is lost (7.3)."""
    if m[STABLE_FORGETS]:
        u8(m, ITEM_STATE)[e] &= ~CHECKSUMMED & 0xFF
        u8(m, ITEM_AGE)[e] = 0
        u8(m, REMAINING_SKIPS)[e] = 0


@part
def add_dup(m: Vector, dup: Integer, chain: Integer) -> None:
    """stable_node_chain_add_dup: to the front of the chain."""
    first = i32(m, NODE_HEAD)[chain]
    i32(m, NODE_NEXT)[dup] = first
    i32(m, NODE_PREV)[dup] = NULL
    if first >= 0:
        i32(m, NODE_PREV)[first] = dup
    i32(m, NODE_HEAD)[chain] = dup
    i32(m, NODE_CHAIN)[dup] = chain
    m[Counter.STABLE_NODE_DUPS] += 1


@part
def unlink_parked(m: Vector, n: Integer) -> None:
    """Node `n` is parked no longer."""
    before, after = i32(m, NODE_PREV)[n], i32(m, NODE_NEXT)[n]
    if before >= 0:
        i32(m, NODE_NEXT)[before] = after
    else:
        m[PARKED] = after
    if after >= 0:
        i32(m, NODE_PREV)[after] = before


@part
def link_parked(m: Vector, n: Integer) -> None:
    """Park node `n`, which is in no tree: its frame is on another NUMA node than its tree was for."""
    first = m[PARKED]
    i32(m, NODE_NEXT)[n] = first
    i32(m, NODE_PREV)[n] = NULL
    if first >= 0:
        i32(m, NODE_PREV)[first] = n
    m[PARKED] = n
    i32(m, NODE_NUMA)[n] = NO_TREE


@part
def _take_out(m: Vector, n: Integer) -> None:
    # From its chain, its tree or those parked.
    if i32(m, NODE_NUMA)[n] == NO_TREE:
        unlink_parked(m, n)
    elif i32(m, NODE_CHAIN)[n] >= 0:
        remove_dup(m, n)
    else:
        rbtree.erase(tree_rows(m, NODE_ROWS), i32(m, ROOTS), stable_tree_of(m, n), n)


@part
def park(m: Vector, n: Integer) -> None:
    """The frame of node `n` is on another NUMA node than its tree is for."""
    _take_out(m, n)
    link_parked(m, n)


@part
def remove_node(m: Vector, n: Integer) -> None:
    """Take a node without items away from wherever it is, and free it."""
    _take_out(m, n)
    free_node(m, n)


@part
def purge(m: Vector, n: Integer) -> None:
    """remove_node_from_stable_tree: strip the stale node `n` of its items, in whatever mm they are, and free it."""
    e = i32(m, NODE_HEAD)[n]
    while e >= 0:
        after = i32(m, ITEM_NEXT)[e]
        if after >= 0:
            m[Counter.PAGES_SHARING] -= 1
        else:
            m[Counter.PAGES_SHARED] -= 1
        i64(m, SLOT_MERGING)[mm_of(m, e)] -= 1
        u8(m, ITEM_STATE)[e] &= EXISTS | CHECKSUMMED
        i32(m, ITEM_NODE)[e] = NULL
        forget(m, e)
        e = after
    m[Counter.STALE_NODES_PRUNED] += 1
    remove_node(m, n)


@part
def take_off(m: Vector, mm: Integer, e: Integer, n: Integer) -> None:
    """Take item `e` off the list of the live node `n`, which stays in the tree even if it was the last."""
    before, after = i32(m, ITEM_PREV)[e], i32(m, ITEM_NEXT)[e]
    if before >= 0:
        i32(m, ITEM_NEXT)[before] = after
    else:
        i32(m, NODE_HEAD)[n] = after
    if after >= 0:
        i32(m, ITEM_PREV)[after] = before
    if i32(m, NODE_HEAD)[n] >= 0:
        m[Counter.PAGES_SHARING] -= 1
    else:
        m[Counter.PAGES_SHARED] -= 1
    i32(m, NODE_LENGTH)[n] -= 1
    i64(m, SLOT_MERGING)[mm] -= 1
    u8(m, ITEM_STATE)[e] &= ~STABLE & 0xFF
    i32(m, ITEM_NODE)[e] = NULL
    forget(m, e)


@part
def probe_parked(m: Vector) -> None:
    """At the start of a pass: the parked nodes whose frames are gone vanish."""
    n = m[PARKED]
    while n >= 0:
        after = i32(m, NODE_NEXT)[n]
        if tree_rows(m, NODE_ROWS)[n, KEY] == STALE:
            purge(m, n)
        n = after
