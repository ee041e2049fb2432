"""What happens to one page: cmp_and_merge_page, the unstable tree, and the merges themselves (3.1, 3.2, 3.5 to 3.9)."""

from ksmbench.designs.ksm.stable import purge, stable_tree_insert, stable_tree_search, take_off
from ksmbench.designs.ksm.state import (
    CHECKSUMMED,
    EXISTS,
    ITEM_NODE,
    ITEM_SEQ,
    ITEM_STATE,
    NODE_FRAME,
    NULL,
    OLDCHECKSUM,
    ROOTS,
    SEQ,
    STABLE,
    STABLE_TREE,
    UNSTABLE,
    UNSTABLE_TREE,
    USE_ZERO_PAGES,
    append,
    mm_of,
)
from ksmbench.designs.ksm.warm import descend_ahead, guesses
from ksmbench.engine import rbtree
from ksmbench.engine.counters import Counter
from ksmbench.engine.jit import Integer, kernel
from ksmbench.engine.lcp import compared_bytes
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
    ORDINARY,
    STALE,
    ZEROED,
    billable_content,
    break_entry,
    replace_by_zero,
    replace_frame,
    split_folio,
)
from ksmbench.engine.rbtree import KEY, RIGHT


@kernel
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
            rbtree.erase(tree_rows(m, ROWS), i32(m, ROOTS), UNSTABLE_TREE, e)
        m[Counter.PAGES_UNSHARED] -= 1
        u8(m, ITEM_STATE)[e] = state & (EXISTS | CHECKSUMMED)


@kernel
def _may_be_merged(m: Vector, f: Integer) -> Integer:
    # A huge frame is split first; then a zero-filled part of it is gone, and nothing is left to be merged.
    if i32(m, FOLIO)[f] != NO_FOLIO:
        split_folio(m, i32(m, FOLIO)[f])
    return i32(m, NODE)[f] != ZEROED


@kernel
def _merge_with_zero(m: Vector, mm: Integer, e: Integer, f: Integer, content: Integer) -> Integer:
    # A page whose checksum is the zero page's: merged if its bytes are zero too.
    if not _may_be_merged(m, f) or content != 0:
        return False
    replace_by_zero(m, mm, e)
    return True


@kernel
def _merge_with_ksm_page(m: Vector, mm: Integer, e: Integer, f: Integer, target: Integer) -> Integer:
    # try_to_merge_with_ksm_page
    if f == target:
        return True
    if not _may_be_merged(m, f):
        return False
    replace_frame(m, mm, e, target)
    return True


@kernel
def _unstable_tree_search_insert(m: Vector, e: Integer, f: Integer, content: Integer) -> Integer:
    # The item whose page is equal now, or NULL: then `e` has been inserted, unless the search met an item whose page
    # is not available, or the very same frame. Keys are what the items' pages hold now, not at their insertion.
    rows = tree_rows(m, ROWS)
    root = i32(m, ROOTS)[UNSTABLE_TREE]
    at, above, side, comparisons, compared = descend_ahead(m, rows, root, content, guesses(e, UNSTABLE_TREE))
    found: Integer = NULL
    dead_end = False
    while at >= 0:
        key = rows[at, KEY]
        if key == content:
            if (key == 0 and billable_content(m, at) < 0) or i32(m, FRAME)[at] == f:
                dead_end = True
            else:
                comparisons += 1
                compared += m[PAGE_SIZE]
                found = at
            break
        if key <= 0 and billable_content(m, at) < 0:
            dead_end = True
            break
        comparisons += 1
        compared += compared_bytes(m, content, key)
        side = RIGHT - (content < key)  # without a branch, which could not be predicted
        above = at
        at = rows[at, side]
    m[Counter.COMPARISONS] += comparisons
    m[Counter.COMPARED_BYTES] += compared
    if found >= 0 or dead_end:
        return found
    rbtree.insert(rows, i32(m, ROOTS), UNSTABLE_TREE, e, above, side)
    u8(m, ITEM_STATE)[e] |= UNSTABLE
    u8(m, ITEM_SEQ)[e] = m[SEQ] & 0xFF
    m[Counter.PAGES_UNSHARED] += 1
    return NULL


@kernel
def _merge_two_pages(m: Vector, mm: Integer, e: Integer, f: Integer, partner: Integer) -> None:
    # try_to_merge_two_pages: the later frame `f` becomes KSM's in place, for all that map it; the earlier is replaced.
    other = i32(m, FRAME)[partner]
    if i32(m, FOLIO)[f] != NO_FOLIO and i32(m, FOLIO)[f] == i32(m, FOLIO)[other]:
        split_folio(m, i32(m, FOLIO)[f])  # held twice, the huge frame could not be split for merging
        return
    if not _may_be_merged(m, f):
        return
    if i32(m, NODE)[f] == ORDINARY:
        i32(m, NODE)[f] = KSM_WITHOUT_NODE
        m[Counter.FRAMES_KSM] += 1
    partner_mm = mm_of(m, partner)
    if not _merge_with_ksm_page(m, partner_mm, partner, other, f):
        break_entry(m, mm, e)
        return
    detach(m, partner_mm, partner)
    n = stable_tree_insert(m, f)
    append(m, partner_mm, partner, n)
    append(m, mm, e, n)


@kernel
def cmp_and_merge_page(m: Vector, mm: Integer, e: Integer) -> None:
    """Process the billable page at `e`, which has an item (3.1; order from 6.11 on)."""
    f = i32(m, FRAME)[e]
    content = i32(m, CONTENT)[f]
    node = i32(m, NODE)[f]
    if node >= 0:
        if u8(m, ITEM_STATE)[e] & STABLE and i32(m, ITEM_NODE)[e] == node:
            return
    else:
        detach(m, mm, e)
        checksum = u32(m, CHECKSUM)[content]
        m[Counter.CHECKSUMS] += 1
        if not u8(m, ITEM_STATE)[e] & CHECKSUMMED or u32(m, OLDCHECKSUM)[e] != checksum:
            u32(m, OLDCHECKSUM)[e] = checksum
            u8(m, ITEM_STATE)[e] |= CHECKSUMMED
            return
        if m[USE_ZERO_PAGES] and checksum == u32(m, CHECKSUM)[0]:
            if _merge_with_zero(m, mm, e, f, content):
                return
        node = stable_tree_search(m, content, guesses(e, STABLE_TREE))
    detach(m, mm, e)
    if node >= 0:
        # A page that a fork made map a merged frame joins its list as it is, beyond max_page_sharing too.
        if _merge_with_ksm_page(m, mm, e, f, i32(m, NODE_FRAME)[node]):
            append(m, mm, e, node)
        return
    partner = _unstable_tree_search_insert(m, e, f, content)
    if partner >= 0:
        _merge_two_pages(m, mm, e, f, partner)
