"""The stable trees: merged frames by content, in chains where max_page_sharing was reached (3.3, 3.4, 3.10, 4).

With merge_across_nodes=0 there is a tree for each NUMA node; what the specification leaves open of it is inferred: a
node whose frame has moved is parked when its page is visited or another is found equal to it, and comes into the tree
of its new NUMA node at the next visit of one of its pages.
"""

import numpy as np

from ksmbench.designs.ksm.nodes import add_dup, link_parked, park, purge, remove_dup, unlink_parked
from ksmbench.designs.ksm.state import (
    CHAIN,
    CHAIN_STAMP,
    CHAIN_TAKES_ANY,
    HAS_CHAINS,
    HZ,
    MAX_PAGE_SHARING,
    NODE_CHAIN,
    NODE_FRAME,
    NODE_HEAD,
    NODE_LENGTH,
    NODE_NEXT,
    NODE_NUMA,
    NOW_JIFFIES,
    NULL,
    PRUNE_MILLISECS,
    RESTARTS_ON_STALE,
    ROOTS,
    STABLE_TREE,
    free_node,
    is_candidate,
    is_chain,
    new_node,
    numa_of,
    stable_tree_of,
)
from ksmbench.designs.ksm.warm import NO_GUESS, descend_ahead
from ksmbench.engine import rbtree
from ksmbench.engine.counters import Counter
from ksmbench.engine.descents import STABLE as IN_STABLE_TREE
from ksmbench.engine.descents import count_descent
from ksmbench.engine.lcp import LINE, compared_bytes
from ksmbench.engine.machine import (
    CONTENT,
    MAPCOUNT,
    NODE,
    NODE_ROWS,
    PAGE_SIZE,
    Vector,
    i32,
    i64,
    tree_rows,
)
from ksmbench.engine.memory import STALE
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import KEY, RIGHT
from ksmbench.jit import Integer

_PRUNE, _KEEP = np.int64(1), np.int64(0)
_GAVE_UP = np.int64(-1)  # in place of a side: an old release met a stale node
PRUNE_NEVER = 1 << 31  # msecs_to_jiffies takes what is negative as an int for "never"


@part
def read_bytes(m: Vector, a: Integer, b: Integer) -> Integer:
    """Bytes that a comparison of two pages reads: up to the first that differs, the whole page where none does."""
    return m[PAGE_SIZE] if a == b else compared_bytes(m, a, b)


@part
def _collapse(m: Vector, chain: Integer, dup: Integer) -> None:
    # The only dup left takes the chain's place in the tree, even if it is full.
    remove_dup(m, dup)
    rbtree.replace(tree_rows(m, NODE_ROWS), i32(m, ROOTS), stable_tree_of(m, chain), chain, dup)
    m[Counter.STABLE_NODE_CHAINS] -= 1
    free_node(m, chain)


@part
def _due_for_pruning(m: Vector, chain: Integer) -> Integer:
    millisecs = m[PRUNE_MILLISECS]
    if millisecs >= PRUNE_NEVER:
        return False
    wait = (millisecs * m[HZ] + 999) // 1000
    return m[NOW_JIFFIES] >= i64(m, CHAIN_STAMP)[chain] + wait


@part
def resolve_chain(m: Vector, chain: Integer, may_prune: Integer) -> Integer:
    """stable_node_dup: the dup that stands for `chain` (4.2), or NULL: then the chain is freed.

    Stale dups that are met are purged. With pruning the fullest candidate is taken, else the first; a chain of one
    dup collapses. Before 6.11 only with pruning and if the dup is a candidate; without one the first dup stands.
    """
    takes_any = m[CHAIN_TAKES_ANY]
    prune = may_prune and _due_for_pruning(m, chain)
    if prune:
        i64(m, CHAIN_STAMP)[chain] = m[NOW_JIFFIES]
    found = NULL
    found_is_candidate = False
    dup = i32(m, NODE_HEAD)[chain]
    while dup >= 0:
        after = i32(m, NODE_NEXT)[dup]
        if tree_rows(m, NODE_ROWS)[dup, KEY] == STALE:
            purge(m, dup)
        else:
            candidate = is_candidate(m, dup)
            if (found < 0 and takes_any) or (
                candidate and (not found_is_candidate or i32(m, NODE_LENGTH)[dup] > i32(m, NODE_LENGTH)[found])
            ):
                found = dup
                found_is_candidate = candidate
                if candidate and not prune:
                    break
        dup = after
    first = i32(m, NODE_HEAD)[chain]
    if first < 0:
        rbtree.erase(tree_rows(m, NODE_ROWS), i32(m, ROOTS), stable_tree_of(m, chain), chain)
        m[Counter.STABLE_NODE_CHAINS] -= 1
        free_node(m, chain)
    elif found < 0:
        return first
    elif first == found and i32(m, NODE_NEXT)[found] < 0 and (takes_any or prune):
        _collapse(m, chain, found)
    elif first != found and 1 <= i32(m, NODE_LENGTH)[found] < m[MAX_PAGE_SHARING] - 1:
        remove_dup(m, found)
        add_dup(m, found, chain)
    return found


@part
def _descend(
    m: Vector, tree: Integer, content: Integer, place: Integer, prune: Integer
) -> tuple[Integer, Integer, Integer]:
    # The node that stands for `content`, and its place in the tree; or NULL, and the leaf to link to with its side.
    # Every element on the way is resolved, so stale ones are purged; then the walk starts again. Counters are added to
    # once at the end: a store in the loop would make every step load its columns anew.
    rows = tree_rows(m, NODE_ROWS)
    at, above, side, comparisons, long, compared = descend_ahead(m, rows, i32(m, ROOTS)[tree], content, place)
    node: Integer = NULL
    while at >= 0:
        key = rows[at, KEY]
        node = at
        if key < 0:
            if key == STALE:
                purge(m, at)
                node = NULL
            else:
                node = resolve_chain(m, at, prune)
            if node < 0:
                if not m[RESTARTS_ON_STALE]:
                    side = _GAVE_UP
                    break
                above = NULL
                at = i32(m, ROOTS)[tree]
                continue
            if i32(m, NODE_CHAIN)[node] < 0:
                at = node
            key = rows[node, KEY]
        comparisons += 1
        read = read_bytes(m, content, key)
        long += read > LINE
        compared += read
        if content == key:
            break
        side = RIGHT - (content < key)  # without a branch, which could not be predicted
        above = at
        at = rows[at, side]
        node = NULL
    m[Counter.COMPARISONS] += comparisons
    m[Counter.STABLE_COMPARISONS] += comparisons
    m[Counter.LONG_COMPARISONS] += long
    m[Counter.COMPARED_BYTES] += compared
    count_descent(m, IN_STABLE_TREE, comparisons)
    if node >= 0:
        return node, at, side
    return NULL, above, side


@part
def _add_beside(m: Vector, n: Integer, place: Integer, numa: Integer) -> None:
    # Node `n` becomes a dup of the tree element `place`, of equal content, which becomes a chain if it is none (4.3).
    chain = place
    if not is_chain(m, place):
        chain = new_node(m)
        i32(m, NODE_NUMA)[chain] = numa
        rbtree.replace(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE + 2 * numa, place, chain)
        tree_rows(m, NODE_ROWS)[chain, KEY] = CHAIN
        i64(m, CHAIN_STAMP)[chain] = m[NOW_JIFFIES]
        m[Counter.STABLE_NODE_CHAINS] += 1
        add_dup(m, place, chain)
    add_dup(m, n, chain)


@part
def stable_tree_search(m: Vector, f: Integer, content: Integer, place: Integer) -> Integer:
    """The node that frame `f` of `content` may join, or NULL; its frame is alive. A frame of a parked node: its own.

    `place`: see `warm.guesses`.
    """
    numa = numa_of(m, f)
    node, element, side = _descend(m, STABLE_TREE + 2 * numa, content, place, _PRUNE)
    own = i32(m, NODE)[f]
    if own >= 0:
        return _unpark(m, f, own, node, element, side, numa)
    if node >= 0:
        if not is_candidate(m, node):
            return NULL
        if numa_of(m, i32(m, NODE_FRAME)[node]) != numa:
            park(m, node)
            return NULL
    return node


@part
def _unpark(
    m: Vector, f: Integer, own: Integer, equal: Integer, place: Integer, side: Integer, numa: Integer
) -> Integer:
    # The end of the search for frame `f` with the parked node `own`, after the descent: the node that its item joins.
    if side == _GAVE_UP:
        return NULL
    beside = equal >= 0 and m[HAS_CHAINS] and i32(m, MAPCOUNT)[f] > 1
    if equal >= 0 and not beside:
        if not is_candidate(m, equal):
            return NULL
        if numa_of(m, i32(m, NODE_FRAME)[equal]) == numa:
            return equal  # which makes a stale node of `own`
    unlink_parked(m, own)
    i32(m, NODE_NUMA)[own] = numa
    if equal < 0:
        rbtree.insert(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE + 2 * numa, own, place, side)
    elif beside:
        _add_beside(m, own, place, numa)
    elif is_chain(m, place):
        add_dup(m, own, place)
        park(m, equal)
    else:
        rbtree.replace(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE + 2 * numa, equal, own)
        link_parked(m, equal)
    return own if is_candidate(m, own) else NULL


@part
def stable_tree_insert(m: Vector, f: Integer) -> Integer:
    """A new node for frame `f`, a dup where its content is in the tree already; NULL where an old release gives up."""
    content = i32(m, CONTENT)[f]
    numa = numa_of(m, f)
    equal, place, side = _descend(m, STABLE_TREE + 2 * numa, content, NO_GUESS, _KEEP)
    if side == _GAVE_UP or (equal >= 0 and not m[HAS_CHAINS]):
        return NULL
    n = new_node(m)
    m[Counter.STABLE_NODES_MADE] += 1
    i32(m, NODE_FRAME)[n] = f
    i32(m, NODE_NUMA)[n] = numa
    i32(m, NODE)[f] = n
    tree_rows(m, NODE_ROWS)[n, KEY] = content
    if equal < 0:
        rbtree.insert(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE + 2 * numa, n, place, side)
    else:
        _add_beside(m, n, place, numa)
    return n
