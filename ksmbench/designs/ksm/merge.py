"""What happens to one page: cmp_and_merge_page, the unstable tree, and the merges themselves (3.1, 3.2, 3.5 to 3.9)."""

from ksmbench.designs.ksm.nodes import forget, park, purge, take_off
from ksmbench.designs.ksm.stable import stable_tree_insert, stable_tree_search
from ksmbench.designs.ksm.state import (
    CHECKSUM_FIRST,
    CHECKSUMMED,
    EXISTS,
    ITEM_NODE,
    ITEM_NUMA,
    ITEM_SEQ,
    ITEM_STATE,
    MERGE_ACROSS_NODES,
    NO_TREE,
    NODE_FRAME,
    NODE_NUMA,
    NULL,
    OLDCHECKSUM,
    ROOTS,
    SEQ,
    SKIPS_OWN_NODE_ONLY,
    SPLIT_NEEDS_NO_PINS,
    SPLITS_SAME_HUGE,
    STABLE,
    STABLE_TREE,
    UNSTABLE,
    UNSTABLE_TREE,
    USE_ZERO_PAGES,
    append,
    mm_of,
    numa_of,
)
from ksmbench.designs.ksm.warm import descend_ahead, guesses
from ksmbench.engine import rbtree
from ksmbench.engine.counters import Counter
from ksmbench.engine.descents import UNSTABLE as IN_UNSTABLE_TREE
from ksmbench.engine.descents import count_descent
from ksmbench.engine.lcp import LINE, compared_bytes
from ksmbench.engine.machine import (
    CHECKSUM,
    CONTENT,
    FOLIO,
    FRAME,
    NODE,
    NODE_ROWS,
    PAGE_SIZE,
    ROWS,
    Vector,
    i32,
    tree_rows,
    u8,
    u32,
)
from ksmbench.engine.memory import (
    KSM_WITHOUT_NODE,
    NO_FOLIO,
    STALE,
    ZEROED,
    billable_content,
    break_entry,
    is_ksm,
    replace_by_zero,
    replace_frame,
    split_folio,
)
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import KEY, RIGHT
from ksmbench.jit import Integer


@part
def detach(m: Vector, mm: Integer, e: Integer) -> None:
    """remove_rmap_item_from_tree: leave the stable or unstable tree; checksum, age and skips stay."""
    state = u8(m, ITEM_STATE)[e]
    if state & STABLE:
        n = i32(m, ITEM_NODE)[e]
        if tree_rows(m, NODE_ROWS)[n, KEY] == STALE:
            purge(m, n)
        else:
            take_off(m, mm, e, n)
    elif state & UNSTABLE:
        # The tree of an earlier pass has been dropped whole.
        if (m[SEQ] - u8(m, ITEM_SEQ)[e]) & 0xFF == 0:
            numa = u8(m, ITEM_NUMA)[e] if len(u8(m, ITEM_NUMA)) > 0 else 0
            rbtree.erase(tree_rows(m, ROWS), i32(m, ROOTS), UNSTABLE_TREE + 2 * numa, e)
        m[Counter.PAGES_UNSHARED] -= 1
        u8(m, ITEM_STATE)[e] = state & (EXISTS | CHECKSUMMED)


@part
def _may_be_merged(m: Vector, f: Integer) -> Integer:
    # A merged frame is never merged into another, as 7.3.4 showed where one had moved to the NUMA node of its equal. A
    # huge frame is split first; then a zero-filled part of it is gone, and nothing is left to be merged.
    if is_ksm(m, f):
        return False
    if i32(m, FOLIO)[f] != NO_FOLIO:
        split_folio(m, i32(m, FOLIO)[f])
    return i32(m, NODE)[f] != ZEROED


@part
def _merge_with_zero(m: Vector, mm: Integer, e: Integer, f: Integer, content: Integer) -> Integer:
    # A page whose checksum is the zero page's: merged if its bytes are zero too.
    if not _may_be_merged(m, f) or content != 0:
        return False
    replace_by_zero(m, mm, e)
    return True


@part
def _merge_with_ksm_page(m: Vector, mm: Integer, e: Integer, f: Integer, target: Integer) -> Integer:
    # try_to_merge_with_ksm_page
    if f == target:
        return True
    if not _may_be_merged(m, f):
        return False
    replace_frame(m, mm, e, target)
    return True


@part
def _unstable_tree_search_insert(m: Vector, e: Integer, f: Integer, content: Integer) -> Integer:
    # The item whose page is equal now, or NULL: then `e` has been inserted, unless the search met an item whose page
    # is not available, or the very same frame, or an equal one that has moved to another NUMA node. Keys are what the
    # items' pages hold now, not at their insertion.
    numa = numa_of(m, f)
    tree = UNSTABLE_TREE + 2 * numa
    rows = tree_rows(m, ROWS)
    root = i32(m, ROOTS)[tree]
    at, above, side, comparisons, long, compared = descend_ahead(m, rows, root, content, guesses(e, UNSTABLE_TREE))
    found: Integer = NULL
    dead_end = False
    while at >= 0:
        key = rows[at, KEY]
        if key == content:
            if (key == 0 and billable_content(m, at) < 0) or i32(m, FRAME)[at] == f:
                dead_end = True
            else:
                comparisons += 1
                long += 1
                compared += m[PAGE_SIZE]
                found = at
            break
        if key <= 0 and billable_content(m, at) < 0:
            dead_end = True
            break
        comparisons += 1
        read = compared_bytes(m, content, key)
        long += read > LINE
        compared += read
        side = RIGHT - (content < key)  # without a branch, which could not be predicted
        above = at
        at = rows[at, side]
    m[Counter.COMPARISONS] += comparisons
    m[Counter.LONG_COMPARISONS] += long
    m[Counter.COMPARED_BYTES] += compared
    count_descent(m, IN_UNSTABLE_TREE, comparisons)
    if found >= 0 and numa_of(m, i32(m, FRAME)[found]) != numa:
        return NULL
    if found >= 0 or dead_end:
        return found
    rbtree.insert(rows, i32(m, ROOTS), tree, e, above, side)
    if len(u8(m, ITEM_NUMA)) > 0:
        u8(m, ITEM_NUMA)[e] = numa
    u8(m, ITEM_STATE)[e] |= UNSTABLE
    u8(m, ITEM_SEQ)[e] = m[SEQ] & 0xFF
    m[Counter.PAGES_UNSHARED] += 1
    return NULL


@part
def _merge_two_pages(m: Vector, mm: Integer, e: Integer, f: Integer, partner: Integer) -> None:
    # try_to_merge_two_pages: the later frame `f` becomes KSM's in place, for all that map it; the earlier is replaced.
    other = i32(m, FRAME)[partner]
    if i32(m, FOLIO)[f] != NO_FOLIO and i32(m, FOLIO)[f] == i32(m, FOLIO)[other] and m[SPLIT_NEEDS_NO_PINS]:
        if m[SPLITS_SAME_HUGE]:
            split_folio(m, i32(m, FOLIO)[f])  # held twice, the huge frame could not be split for merging
        return
    if not _may_be_merged(m, f):
        return
    i32(m, NODE)[f] = KSM_WITHOUT_NODE
    m[Counter.FRAMES_KSM] += 1
    partner_mm = mm_of(m, partner)
    if not _merge_with_ksm_page(m, partner_mm, partner, other, f):
        break_entry(m, mm, e)
        forget(m, e)
        return
    detach(m, partner_mm, partner)
    n = stable_tree_insert(m, f)
    if n < 0:
        break_entry(m, partner_mm, partner)
        break_entry(m, mm, e)
        return
    append(m, partner_mm, partner, n)
    append(m, mm, e, n)


@part
def _ends_at_checksum(m: Vector, mm: Integer, e: Integer, f: Integer, content: Integer) -> Integer:
    # Whether the page has changed since its last visit, or was merged with the zero page.
    checksum = u32(m, CHECKSUM)[content]
    m[Counter.CHECKSUMS] += 1
    if not u8(m, ITEM_STATE)[e] & CHECKSUMMED or u32(m, OLDCHECKSUM)[e] != checksum:
        u32(m, OLDCHECKSUM)[e] = checksum
        u8(m, ITEM_STATE)[e] |= CHECKSUMMED
        return True
    if m[USE_ZERO_PAGES] and checksum == u32(m, CHECKSUM)[0]:
        return _merge_with_zero(m, mm, e, f, content)
    return False


@part
def _is_in_place(m: Vector, e: Integer, f: Integer, node: Integer) -> Integer:
    # Whether the merged frame `f` of `node`, and the item at `e`, are where they belong; a misplaced node is parked.
    if not m[MERGE_ACROSS_NODES]:
        numa = i32(m, NODE_NUMA)[node]
        if numa != NO_TREE and numa != numa_of(m, f):
            park(m, node)
        if i32(m, NODE_NUMA)[node] == NO_TREE:
            return False
    if not u8(m, ITEM_STATE)[e] & STABLE:
        return False
    return i32(m, ITEM_NODE)[e] == node or not m[SKIPS_OWN_NODE_ONLY]


@part
def cmp_and_merge_page(m: Vector, mm: Integer, e: Integer) -> None:
    """Process the billable page at `e`, which has an item (3.1; before 6.11 the stable tree comes first, 11)."""
    f = i32(m, FRAME)[e]
    content = i32(m, CONTENT)[f]
    own = i32(m, NODE)[f]
    if own >= 0:
        if _is_in_place(m, e, f, own):
            return
    elif m[CHECKSUM_FIRST]:
        detach(m, mm, e)
        if _ends_at_checksum(m, mm, e, f, content):
            return
    node = own
    if own < 0 or i32(m, NODE_NUMA)[own] == NO_TREE:
        node = stable_tree_search(m, f, content, guesses(e, STABLE_TREE))
        if node >= 0 and node == own and u8(m, ITEM_STATE)[e] & STABLE and i32(m, ITEM_NODE)[e] == node:
            return  # a node that was parked is in a tree again
    detach(m, mm, e)
    if node >= 0:
        # A page that a fork made map a merged frame joins its list as it is, beyond max_page_sharing too.
        if _merge_with_ksm_page(m, mm, e, f, i32(m, NODE_FRAME)[node]):
            append(m, mm, e, node)
        return
    if not m[CHECKSUM_FIRST] and _ends_at_checksum(m, mm, e, f, content):
        return
    partner = _unstable_tree_search_insert(m, e, f, content)
    if partner >= 0:
        _merge_two_pages(m, mm, e, f, partner)
