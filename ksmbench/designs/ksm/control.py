"""Stores to the settings while ksmd lives, and run=2 (8.12)."""

from ksmbench.designs.ksm.nodes import probe_parked, remove_node
from ksmbench.designs.ksm.ring import drop_slot
from ksmbench.designs.ksm.scan import free_items
from ksmbench.designs.ksm.state import (
    ADVISOR_CHANGE,
    ADVISOR_CPU_NS,
    ADVISOR_MAX_CPU,
    ADVISOR_MAX_PAGES_TO_SCAN,
    ADVISOR_MIN_PAGES_TO_SCAN,
    ADVISOR_MODE,
    ADVISOR_SCAN_TIME,
    ADVISOR_TARGET_SCAN_TIME,
    CURSOR,
    MAX_PAGE_SHARING,
    MERGE_ACROSS_NODES,
    NODE_HEAD,
    NODE_NEXT,
    PAGES_TO_SCAN,
    PARKED,
    REGISTERED,
    ROOTS,
    RUN,
    RUN2_DROPS_NODES,
    SCAN_START,
    SEQ,
    SLEEP_MILLISECS,
    SLEEP_STORE_WAKES,
    SLOT_NEXT,
    SMART_SCAN,
    STABLE_TREE,
    USE_ZERO_PAGES,
    free_node,
    is_chain,
)
from ksmbench.engine import rbtree
from ksmbench.engine.clock import sleep_changed
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import ALIVE, BASE, END, FLAGS, NODE_ROWS, REFUSED, Vector, i32, i64, tree_rows, u8
from ksmbench.engine.memory import MERGEABLE, STALE, break_entry
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import KEY
from ksmbench.jit import Integer

UNSIGNED_MAX = (1 << 32) - 1
INT_MAX = (1 << 31) - 1
DEFAULT_PAGES_TO_SCAN = 100


@part
def _remove_stable_tree(m: Vector, tree: Integer) -> Integer:
    # Drops leftover nodes from the root on, up to the first whose frame is still mapped; whether none was.
    while i32(m, ROOTS)[tree] >= 0:
        n = i32(m, ROOTS)[tree]
        if is_chain(m, n):
            dup = i32(m, NODE_HEAD)[n]
            while dup >= 0:
                after = i32(m, NODE_NEXT)[dup]
                if tree_rows(m, NODE_ROWS)[dup, KEY] != STALE:
                    return False
                remove_node(m, dup)
                dup = after
            rbtree.erase(tree_rows(m, NODE_ROWS), i32(m, ROOTS), tree, n)
            m[Counter.STABLE_NODE_CHAINS] -= 1
            free_node(m, n)
        elif tree_rows(m, NODE_ROWS)[n, KEY] == STALE:
            remove_node(m, n)
        else:
            return False
    return True


@part
def _remove_all_stable_nodes(m: Vector) -> Integer:
    # In every tree, and of those parked; whether none is left.
    done = True
    for tree in range(STABLE_TREE, len(i32(m, ROOTS)), 2):
        if not _remove_stable_tree(m, tree):
            done = False
    probe_parked(m)
    return done and m[PARKED] < 0


@part
def _unmerge_everything(m: Vector) -> None:
    # unmerge_and_remove_all_rmap_items
    head = len(u8(m, REGISTERED))
    mm = i32(m, SLOT_NEXT)[head]
    while mm != head:
        following = i32(m, SLOT_NEXT)[mm]
        if u8(m, ALIVE)[mm]:
            for e in range(i64(m, BASE)[mm], i64(m, END)[mm]):
                if u8(m, FLAGS)[e] & MERGEABLE:
                    break_entry(m, mm, e)
        free_items(m, mm)
        if not u8(m, ALIVE)[mm]:
            drop_slot(m, mm)
        mm = following
    if m[RUN2_DROPS_NODES]:
        _remove_all_stable_nodes(m)
    m[SEQ] = 0
    m[Counter.FULL_SCANS] = 0
    m[CURSOR] = head


@part
def set_advisor(m: Vector, mode: Integer) -> None:
    """advisor_mode becomes `mode`, another than it was: the advisor knows nothing yet."""
    m[ADVISOR_MODE] = mode
    if mode:
        m[SCAN_START] = m[ADVISOR_CHANGE] = m[ADVISOR_SCAN_TIME] = m[ADVISOR_CPU_NS] = 0
        m[PAGES_TO_SCAN] = m[ADVISOR_MIN_PAGES_TO_SCAN] & UNSIGNED_MAX
    else:
        m[PAGES_TO_SCAN] = DEFAULT_PAGES_TO_SCAN


@part
def _parsed(setting: Integer, value: Integer) -> Integer:
    # What the kernel reads from the digits of `value`, or -1 where it refuses them whatever its state.
    if value < 0 or setting < 0:
        return -1
    least: Integer = 0
    most: Integer = UNSIGNED_MAX
    if setting == SMART_SCAN or setting == USE_ZERO_PAGES:
        while value >= 10:  # the first digit decides, here alone
            value //= 10
        most = 1
    elif setting == MERGE_ACROSS_NODES or setting == ADVISOR_MODE:
        most = 1
    elif setting == RUN:
        most = 2
    elif setting == MAX_PAGE_SHARING:
        least = 2
        most = INT_MAX
    elif setting == ADVISOR_MAX_CPU:
        value &= UNSIGNED_MAX
    elif setting == ADVISOR_MIN_PAGES_TO_SCAN or setting == ADVISOR_MAX_PAGES_TO_SCAN:
        most = value
    elif setting == ADVISOR_TARGET_SCAN_TIME:
        least = 1
        most = value
    return value if least <= value <= most else -1


@part
def _stored(m: Vector, setting: Integer, value: Integer) -> Integer:
    # Put a value of the right range into force; whether the kernel can at this moment.
    if setting == MAX_PAGE_SHARING or setting == MERGE_ACROSS_NODES:
        if value != m[setting] and (m[Counter.PAGES_SHARED] != 0 or not _remove_all_stable_nodes(m)):
            return False
    elif setting == PAGES_TO_SCAN and m[ADVISOR_MODE]:
        return False
    if setting == ADVISOR_MODE:
        if value != m[ADVISOR_MODE]:
            set_advisor(m, value)
        return True
    changed = value != m[setting]
    m[setting] = value
    if setting == RUN and value == 2 and changed:
        _unmerge_everything(m)
    elif setting == SLEEP_MILLISECS and m[SLEEP_STORE_WAKES]:
        sleep_changed(m, value * 1_000_000)
    return True


@part
def store(m: Vector, setting: Integer, value: Integer) -> None:
    """A store of `value` to setting number `setting`; what the kernel refuses is counted and changes nothing."""
    parsed = _parsed(setting, value)
    if parsed < 0 or not _stored(m, setting, parsed):
        m[REFUSED] += 1
