"""The trees of 2009: elements of the stable one are found through addresses, not frames (`docs/designs-2009.md` 1)."""

from ksmbench.designs.ksm.state import mm_of
from ksmbench.designs.review.state import (
    CHECKSUMMED,
    ELEMENT_FREE,
    ELEMENT_FREE_TOP,
    ELEMENT_HEAD,
    EXISTS,
    FORGETS,
    HOLE_ITEMS,
    HOLE_OF,
    ITEM_ELEMENT,
    ITEM_NEXT,
    ITEM_PASS,
    ITEM_PREV,
    ITEM_STATE,
    NEEDS_MERGEABLE,
    NEXT_ELEMENT,
    NULL,
    OUTSIDE,
    OUTSIDE_ITEMS,
    PASS,
    ROOTS,
    SLOT_ITEMS,
    STABLE,
    STABLE_TREE,
    TRACKED,
    TRACKED_AGAIN,
    UNSTABLE,
    UNSTABLE_TREE,
)
from ksmbench.engine import rbtree
from ksmbench.engine.counters import Counter
from ksmbench.engine.descents import STABLE as IN_STABLE_TREE
from ksmbench.engine.descents import UNSTABLE as IN_UNSTABLE_TREE
from ksmbench.engine.descents import count_descent
from ksmbench.engine.lcp import LINE, compared_bytes
from ksmbench.engine.machine import (
    ALIVE,
    CONTENT,
    FLAGS,
    FRAME,
    LOST,
    NODE,
    NODE_ROWS,
    PAGE_SIZE,
    ROWS,
    Vector,
    i32,
    i64,
    tree_rows,
    u8,
)
from ksmbench.engine.memory import KSM_WITHOUT_NODE, MERGEABLE
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import LEFT, RIGHT
from ksmbench.engine.tracking import set_lost
from ksmbench.jit import Integer


@part
def is_merged(m: Vector, e: Integer) -> Integer:
    """Whether entry `e` maps a merged frame."""
    f = i32(m, FRAME)[e]
    return f >= 0 and i32(m, NODE)[f] == KSM_WITHOUT_NODE


@part
def is_ordinary(m: Vector, e: Integer) -> Integer:
    """Whether entry `e` maps an anonymous frame that is not merged."""
    f = i32(m, FRAME)[e]
    return f >= 0 and i32(m, NODE)[f] != KSM_WITHOUT_NODE


@part
def lose(m: Vector, e: Integer, cause: Integer) -> None:
    """If entry `e` maps a merged frame that no item of its own tracks: note why."""
    if is_merged(m, e) and not u8(m, ITEM_STATE)[e] & TRACKED and not u8(m, LOST)[e]:
        set_lost(m, e, cause)


@part
def track(m: Vector, e: Integer, state: Integer) -> None:
    """The item at `e` is STABLE or OUTSIDE from now on."""
    u8(m, ITEM_STATE)[e] |= state
    m[Counter.PAGES_SHARING] += 1
    if u8(m, LOST)[e]:
        set_lost(m, e, TRACKED_AGAIN)


@part
def make_outside(m: Vector, e: Integer) -> None:
    """The item at `e` is about a merged frame that is in no tree; each such item counts for the quota."""
    track(m, e, OUTSIDE)
    m[OUTSIDE_ITEMS] += 1
    m[Counter.KERNEL_PAGES_COUNTED] += 1


@part
def _leave_element(m: Vector, e: Integer) -> None:
    n = i32(m, ITEM_ELEMENT)[e]
    before, after = i32(m, ITEM_PREV)[e], i32(m, ITEM_NEXT)[e]
    if before >= 0:
        i32(m, ITEM_NEXT)[before] = after
    else:
        i32(m, ELEMENT_HEAD)[n] = after
    if after >= 0:
        i32(m, ITEM_PREV)[after] = before
    if i32(m, ELEMENT_HEAD)[n] >= 0:
        m[Counter.PAGES_SHARING] -= 1
        return
    rbtree.erase(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE, n)
    i32(m, ELEMENT_FREE)[m[ELEMENT_FREE_TOP]] = n
    m[ELEMENT_FREE_TOP] += 1
    m[Counter.PAGES_SHARED] -= 1
    m[Counter.KERNEL_PAGES_COUNTED] -= 1


@part
def detach(m: Vector, e: Integer) -> None:
    """The item at `e` becomes treeless."""
    state = u8(m, ITEM_STATE)[e]
    if state & UNSTABLE:
        if i32(m, ITEM_PASS)[e] == m[PASS]:
            rbtree.erase(tree_rows(m, ROWS), i32(m, ROOTS), UNSTABLE_TREE, e)
        m[Counter.PAGES_UNSHARED] -= 1
    elif state & STABLE:
        _leave_element(m, e)
        if m[FORGETS]:
            state &= ~CHECKSUMMED
    elif state & OUTSIDE:
        m[OUTSIDE_ITEMS] -= 1
        m[Counter.KERNEL_PAGES_COUNTED] -= 1
        m[Counter.PAGES_SHARING] -= 1
    u8(m, ITEM_STATE)[e] = state & (EXISTS | CHECKSUMMED)


@part
def make_item(m: Vector, mm: Integer, e: Integer) -> None:
    """See to it that there is an item at `e`."""
    if not u8(m, ITEM_STATE)[e]:
        u8(m, ITEM_STATE)[e] = EXISTS
        i64(m, SLOT_ITEMS)[mm] += 1
        m[Counter.RMAP_ITEMS] += 1
        m[Counter.RMAP_ITEMS_MADE] += 1


@part
def free_item(m: Vector, mm: Integer, e: Integer) -> None:
    """Detach and free the item at `e`, if there is one."""
    if u8(m, ITEM_STATE)[e]:
        detach(m, e)
        u8(m, ITEM_STATE)[e] = 0
        i64(m, SLOT_ITEMS)[mm] -= 1
        m[Counter.RMAP_ITEMS] -= 1
        m[Counter.RMAP_ITEMS_FREED] += 1


@part
def set_hole_items(m: Vector, mm: Integer, e: Integer, n: Integer) -> None:
    """Of the never present pages after `e`, the first `n` have items."""
    h = i32(m, HOLE_OF)[e]
    if h >= 0:
        more = n - i64(m, HOLE_ITEMS)[h]
        i64(m, HOLE_ITEMS)[h] = n
        i64(m, SLOT_ITEMS)[mm] += more
        m[Counter.RMAP_ITEMS] += more
        m[Counter.RMAP_ITEMS_MADE] += max(0, more)
        m[Counter.RMAP_ITEMS_FREED] += max(0, -more)


@part
def drop_unstable_tree(m: Vector) -> None:
    """Begin another unstable tree; items of the old one are in none, whatever their state says."""
    m[PASS] += 1
    i32(m, ROOTS)[UNSTABLE_TREE] = NULL


@part
def _first_live(m: Vector, n: Integer) -> Integer:
    # The first item of element `n` whose address maps a merged frame. Those before it are taken off; without any the
    # element is gone: NULL.
    e = i32(m, ELEMENT_HEAD)[n]
    while e >= 0 and not is_merged(m, e):
        after = i32(m, ITEM_NEXT)[e]
        detach(m, e)
        e = after
    return e


@part
def _read(m: Vector, a: Integer, b: Integer) -> Integer:
    # Compare contents a and b: counts, and which side to go on: 0 where they are equal.
    m[Counter.COMPARISONS] += 1
    read = m[PAGE_SIZE] if a == b else compared_bytes(m, a, b)
    m[Counter.COMPARED_BYTES] += read
    m[Counter.LONG_COMPARISONS] += read > LINE
    if a == b:
        return 0
    return LEFT if a < b else RIGHT


@part
def _end_stable_descent(m: Vector, comparisons_before: Integer) -> None:
    comparisons = m[Counter.COMPARISONS] - comparisons_before
    m[Counter.STABLE_COMPARISONS] += comparisons
    count_descent(m, IN_STABLE_TREE, comparisons)


@part
def stable_search(m: Vector, content: Integer) -> Integer:
    """The first live item of the element that holds `content`, or NULL."""
    before = m[Counter.COMPARISONS]
    found = _find_stable(m, content)
    _end_stable_descent(m, before)
    return found


@part
def _find_stable(m: Vector, content: Integer) -> Integer:
    at = i32(m, ROOTS)[STABLE_TREE]
    while at >= 0:
        e = _first_live(m, at)
        if e < 0:
            return NULL
        side = _read(m, content, i32(m, CONTENT)[i32(m, FRAME)[e]])
        if side == 0:
            return e
        at = tree_rows(m, NODE_ROWS)[at, side]
    return NULL


@part
def stable_insert(m: Vector, e: Integer) -> Integer:
    """Make the item at `e`, which maps a merged frame, an element of its own; False where it finds no room."""
    before = m[Counter.COMPARISONS]
    done = _insert_stable(m, e)
    _end_stable_descent(m, before)
    m[Counter.STABLE_NODES_MADE] += done
    return done


@part
def _insert_stable(m: Vector, e: Integer) -> Integer:
    content = i32(m, CONTENT)[i32(m, FRAME)[e]]
    at = i32(m, ROOTS)[STABLE_TREE]
    above = NULL
    side = LEFT
    while at >= 0:
        live = _first_live(m, at)
        if live < 0:
            return False
        turn = _read(m, content, i32(m, CONTENT)[i32(m, FRAME)[live]])
        if turn == 0:
            return False
        above = at
        side = turn
        at = tree_rows(m, NODE_ROWS)[at, turn]
    if m[ELEMENT_FREE_TOP] > 0:
        m[ELEMENT_FREE_TOP] -= 1
        n = i32(m, ELEMENT_FREE)[m[ELEMENT_FREE_TOP]]
    else:
        n = m[NEXT_ELEMENT]
        m[NEXT_ELEMENT] += 1
    rbtree.insert(tree_rows(m, NODE_ROWS), i32(m, ROOTS), STABLE_TREE, n, above, side)
    i32(m, ELEMENT_HEAD)[n] = e
    i32(m, ITEM_ELEMENT)[e] = n
    i32(m, ITEM_NEXT)[e] = NULL
    i32(m, ITEM_PREV)[e] = NULL
    m[Counter.PAGES_SHARED] += 1
    m[Counter.KERNEL_PAGES_COUNTED] += 1
    track(m, e, STABLE)
    m[Counter.PAGES_SHARING] -= 1
    return True


@part
def append(m: Vector, e: Integer, n: Integer) -> None:
    """Put the item at `e` second on the list of element `n`."""
    first = i32(m, ELEMENT_HEAD)[n]
    after = i32(m, ITEM_NEXT)[first]
    i32(m, ITEM_NEXT)[first] = e
    i32(m, ITEM_PREV)[e] = first
    i32(m, ITEM_NEXT)[e] = after
    if after >= 0:
        i32(m, ITEM_PREV)[after] = e
    i32(m, ITEM_ELEMENT)[e] = n
    track(m, e, STABLE)


@part
def _is_available(m: Vector, e: Integer) -> Integer:
    if not is_ordinary(m, e):
        return False
    return not m[NEEDS_MERGEABLE] or (u8(m, FLAGS)[e] & MERGEABLE and u8(m, ALIVE)[mm_of(m, e)])


@part
def unstable_search(m: Vector, e: Integer, may_insert: Integer) -> Integer:
    """The unstable item whose page equals that at `e`, or NULL; then `e` went in if it may, unless a page was away."""
    before = m[Counter.COMPARISONS]
    found = _find_unstable(m, e, may_insert)
    count_descent(m, IN_UNSTABLE_TREE, m[Counter.COMPARISONS] - before)
    return found


@part
def _find_unstable(m: Vector, e: Integer, may_insert: Integer) -> Integer:
    f = i32(m, FRAME)[e]
    content = i32(m, CONTENT)[f]
    rows = tree_rows(m, ROWS)
    at = i32(m, ROOTS)[UNSTABLE_TREE]
    above = NULL
    side = LEFT
    while at >= 0:
        if not _is_available(m, at) or i32(m, FRAME)[at] == f:
            return NULL
        turn = _read(m, content, i32(m, CONTENT)[i32(m, FRAME)[at]])
        if turn == 0:
            return at
        above = at
        side = turn
        at = rows[at, turn]
    if may_insert:
        rbtree.insert(rows, i32(m, ROOTS), UNSTABLE_TREE, e, above, side)
        u8(m, ITEM_STATE)[e] |= UNSTABLE
        i32(m, ITEM_PASS)[e] = m[PASS]
        m[Counter.PAGES_UNSHARED] += 1
    return NULL
