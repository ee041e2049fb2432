"""The stable tree: merged frames by content, in chains where max_page_sharing was reached (3.3, 3.4, 3.10, 4).

A node holds no reference on its frame: it is stale once the frame is gone, which only a lookup notices.
"""

import numpy as np

from ksmbench.designs.ksm.state import (
    CHAIN,
    CHAIN_STAMP,
    CHECKSUMMED,
    EXISTS,
    HZ,
    ITEM_NEXT,
    ITEM_NODE,
    ITEM_PREV,
    ITEM_STATE,
    MAX_PAGE_SHARING,
    NODE_CHAIN,
    NODE_FRAME,
    NODE_HEAD,
    NODE_LENGTH,
    NODE_NEXT,
    NODE_PREV,
    NOW_JIFFIES,
    NULL,
    PRUNE_MILLISECS,
    ROOTS,
    SLOT_MERGING,
    STABLE,
    STABLE_TREE,
    free_node,
    is_candidate,
    is_chain,
    mm_of,
    new_node,
)
from ksmbench.designs.ksm.warm import NO_GUESS, descend_ahead
from ksmbench.engine import rbtree
from ksmbench.engine.counters import Counter
from ksmbench.engine.jit import Integer, kernel
from ksmbench.engine.lcp import compared_bytes
from ksmbench.engine.machine import (
    CONTENT,
    NODE,
    NODE_ROWS,
    PAGE_SIZE,
    Vector,
    i32,
    i64,
    tree_rows,
    u8,
)
from ksmbench.engine.memory import STALE
from ksmbench.engine.rbtree import KEY, RIGHT

_PRUNE, _KEEP = np.int64(1), np.int64(0)
PRUNE_NEVER = 1 << 31  # msecs_to_jiffies takes what is negative as an int for "never"


@kernel
def read_bytes(m: Vector, a: Integer, b: Integer) -> Integer:
    """Bytes that a comparison of two pages reads: up to the first that differs, the whole page where none does."""
    return m[PAGE_SIZE] if a == b else compared_bytes(m, a, b)


@kernel
def _remove_dup(m: Vector, dup: Integer) -> None:
    # stable_node_dup_del; the chain stays, also without dups, until a lookup frees it.
    before, after = i32(m, NODE_PREV)[dup], i32(m, NODE_NEXT)[dup]
    if before >= 0:
        i32(m, NODE_NEXT)[before] = after
    else:
        i32(m, NODE_HEAD)[i32(m, NODE_CHAIN)[dup]] = after
    if after >= 0:
        i32(m, NODE_PREV)[after] = before
    i32(m, NODE_CHAIN)[dup] = NULL
    m[Counter.STABLE_NODE_DUPS] -= 1


@kernel
def _add_dup(m: Vector, dup: Integer, chain: Integer) -> None:
    # At the front of the chain.
    first = i32(m, NODE_HEAD)[chain]
    i32(m, NODE_NEXT)[dup] = first
    i32(m, NODE_PREV)[dup] = NULL
    if first >= 0:
        i32(m, NODE_PREV)[first] = dup
    i32(m, NODE_HEAD)[chain] = dup
    i32(m, NODE_CHAIN)[dup] = chain
    m[Counter.STABLE_NODE_DUPS] += 1


@kernel
def remove_node(m: Vector, n: Integer) -> None:
    """Take a node without items out of its chain or the tree, and free it."""
    if i32(m, NODE_CHAIN)[n] >= 0:
        _remove_dup(m, n)
    else:
        rbtree.erase(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE, n)
    free_node(m, n)


@kernel
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
        e = after
    remove_node(m, n)


@kernel
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


@kernel
def _collapse(m: Vector, chain: Integer, dup: Integer) -> None:
    # The only dup left takes the chain's place in the tree, even if it is full.
    _remove_dup(m, dup)
    rbtree.replace(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE, chain, dup)
    m[Counter.STABLE_NODE_CHAINS] -= 1
    free_node(m, chain)


@kernel
def _due_for_pruning(m: Vector, chain: Integer) -> Integer:
    millisecs = m[PRUNE_MILLISECS]
    if millisecs >= PRUNE_NEVER:
        return False
    wait = (millisecs * m[HZ] + 999) // 1000
    return m[NOW_JIFFIES] >= i64(m, CHAIN_STAMP)[chain] + wait


@kernel
def resolve_chain(m: Vector, chain: Integer, may_prune: Integer) -> Integer:
    """stable_node_dup: the dup that stands for `chain` (4.2), or NULL: then the chain is freed.

    Stale dups that are met are purged. With pruning the fullest candidate is taken, else the first; a chain of one
    dup collapses.
    """
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
            if found < 0 or (
                candidate and (not found_is_candidate or i32(m, NODE_LENGTH)[dup] > i32(m, NODE_LENGTH)[found])
            ):
                found = dup
                found_is_candidate = candidate
                if candidate and not prune:
                    break
        dup = after
    if found < 0:
        rbtree.erase(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE, chain)
        m[Counter.STABLE_NODE_CHAINS] -= 1
        free_node(m, chain)
    elif i32(m, NODE_HEAD)[chain] == found and i32(m, NODE_NEXT)[found] < 0:
        _collapse(m, chain, found)
    elif i32(m, NODE_HEAD)[chain] != found and 1 <= i32(m, NODE_LENGTH)[found] < m[MAX_PAGE_SHARING] - 1:
        _remove_dup(m, found)
        _add_dup(m, found, chain)
    return found


@kernel
def _descend(m: Vector, content: Integer, place: Integer, prune: Integer) -> tuple[Integer, Integer, Integer]:
    # The node that stands for `content`, and its place in the tree; or NULL, and the leaf to link to with its side.
    # Every element on the way is resolved, so stale ones are purged; then the walk starts again. Counters are added to
    # once at the end: a store in the loop would make every step load its columns anew.
    rows = tree_rows(m, NODE_ROWS)
    at, above, side, comparisons, compared = descend_ahead(m, rows, i32(m, ROOTS)[STABLE_TREE], content, place)
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
                above = NULL
                at = i32(m, ROOTS)[STABLE_TREE]
                continue
            if i32(m, NODE_CHAIN)[node] < 0:
                at = node
            key = rows[node, KEY]
        comparisons += 1
        compared += read_bytes(m, content, key)
        if content == key:
            break
        side = RIGHT - (content < key)  # without a branch, which could not be predicted
        above = at
        at = rows[at, side]
        node = NULL
    m[Counter.COMPARISONS] += comparisons
    m[Counter.COMPARED_BYTES] += compared
    if node >= 0:
        return node, at, side
    return NULL, above, side


@kernel
def stable_tree_search(m: Vector, content: Integer, place: Integer) -> Integer:
    """The node that a page of `content` may join, or NULL; its frame is alive. `place`: see `warm.guesses`."""
    node, _, _ = _descend(m, content, place, _PRUNE)
    if node >= 0 and not is_candidate(m, node):
        return NULL
    return node


@kernel
def stable_tree_insert(m: Vector, f: Integer) -> Integer:
    """A new node for frame `f`, a dup where its content is in the tree already."""
    content = i32(m, CONTENT)[f]
    equal, place, side = _descend(m, content, NO_GUESS, _KEEP)
    n = new_node(m)
    i32(m, NODE_FRAME)[n] = f
    i32(m, NODE)[f] = n
    tree_rows(m, NODE_ROWS)[n, KEY] = content
    if equal < 0:
        rbtree.insert(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE, n, place, side)
        return n
    chain = place
    if not is_chain(m, place):
        chain = new_node(m)
        rbtree.replace(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE, place, chain)
        tree_rows(m, NODE_ROWS)[chain, KEY] = CHAIN
        i64(m, CHAIN_STAMP)[chain] = m[NOW_JIFFIES]
        m[Counter.STABLE_NODE_CHAINS] += 1
        _add_dup(m, place, chain)
    _add_dup(m, n, chain)
    return n
