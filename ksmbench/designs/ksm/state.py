"""KSM's data structures: its own scalars and columns of the vector `m` (`ksmbench.engine.machine`).

An `rmap_item` is the row of the page-table entry it is about, so nothing is allocated for it: the ITEM columns have one
row per entry, and its unstable-tree links stand in ROWS. A stable node (or a chain of them) is a row of the NODE
columns, its tree links in NODE_ROWS. Memory: 20 bytes per entry; 48 per stable node.
"""

import numpy as np

from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    BASE,
    DESIGN_COLUMNS,
    DESIGN_SCALARS,
    NODE_ROWS,
    NUMA,
    Machine,
    Vector,
    i32,
    i64,
    tree_rows,
    u8,
)
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import KEY, make_rows
from ksmbench.jit import Integer

NULL = np.int64(-1)

# Scalars
CURSOR = DESIGN_SCALARS + 0  # the mm whose slot ksmd is at; n_mms (the ring's head) between passes
POSITION = DESIGN_SCALARS + 1  # the entry it goes on from
SEQ = DESIGN_SCALARS + 2  # completed scans, full_scans
NODE_FREE_TOP = DESIGN_SCALARS + 3
NEXT_NODE = DESIGN_SCALARS + 4
NOW_JIFFIES = DESIGN_SCALARS + 5
HZ = DESIGN_SCALARS + 6
# the settings, as they are now
RUN = DESIGN_SCALARS + 7
PAGES_TO_SCAN = DESIGN_SCALARS + 8
SLEEP_MILLISECS = DESIGN_SCALARS + 9
SMART_SCAN = DESIGN_SCALARS + 10
USE_ZERO_PAGES = DESIGN_SCALARS + 11
MAX_PAGE_SHARING = DESIGN_SCALARS + 12
PRUNE_MILLISECS = DESIGN_SCALARS + 13
WARM_UNTIL = DESIGN_SCALARS + 14  # first entry not read ahead, see warm
MERGE_ACROSS_NODES = DESIGN_SCALARS + 15
PARKED = DESIGN_SCALARS + 16  # first of the stable nodes that are in no tree, as their frames moved to another node
# the advisor: its settings, and what it keeps from one full scan to the next
ADVISOR_MODE = DESIGN_SCALARS + 17  # 1: scan-time
ADVISOR_MAX_CPU = DESIGN_SCALARS + 18
ADVISOR_MIN_PAGES_TO_SCAN = DESIGN_SCALARS + 19
ADVISOR_MAX_PAGES_TO_SCAN = DESIGN_SCALARS + 20
ADVISOR_TARGET_SCAN_TIME = DESIGN_SCALARS + 21
SCAN_START = DESIGN_SCALARS + 22  # ns, when the full scan began, 0 where that was not noted
ADVISOR_CHANGE = DESIGN_SCALARS + 23  # percent
ADVISOR_SCAN_TIME = DESIGN_SCALARS + 24  # s
ADVISOR_CPU_NS = DESIGN_SCALARS + 25
# what the release decides, see features; 1 is yes
PAGES_SCANNED_BUG = DESIGN_SCALARS + 26
STABLE_FORGETS = DESIGN_SCALARS + 27
MERGE_ANY_SURVIVES = DESIGN_SCALARS + 28
FORK_COUNTS_AFRESH = DESIGN_SCALARS + 29
CHECKSUM_FIRST = DESIGN_SCALARS + 30
CHAIN_TAKES_ANY = DESIGN_SCALARS + 31
EXEC_REGISTERS = DESIGN_SCALARS + 32
EXEC_INHERITS = DESIGN_SCALARS + 33
HAS_PRCTL = DESIGN_SCALARS + 34
SLEEP_STORE_WAKES = DESIGN_SCALARS + 35
SPLITS_SAME_HUGE = DESIGN_SCALARS + 36
HAS_CHAINS = DESIGN_SCALARS + 37
SPLIT_NEEDS_NO_PINS = DESIGN_SCALARS + 38
RESTARTS_ON_STALE = DESIGN_SCALARS + 39
RUN2_DROPS_NODES = DESIGN_SCALARS + 40
SKIPS_OWN_NODE_ONLY = DESIGN_SCALARS + 41
RANGE_WALK = DESIGN_SCALARS + 42

# Columns: struct ksm_rmap_item, [n_entries]
ITEM_STATE = DESIGN_COLUMNS + 0  # uint8 EXISTS | UNSTABLE | STABLE | CHECKSUMMED
ITEM_SEQ = DESIGN_COLUMNS + 1  # uint8, low bits of SEQ when put into the unstable tree
ITEM_AGE = DESIGN_COLUMNS + 2  # uint8, visits as a page that is not KSM's, at most 255
REMAINING_SKIPS = DESIGN_COLUMNS + 3  # uint8
OLDCHECKSUM = DESIGN_COLUMNS + 4  # uint32
ITEM_NODE = DESIGN_COLUMNS + 5  # int32, stable node, where STABLE
ITEM_NEXT = DESIGN_COLUMNS + 6  # int32, neighbours on the node's list
ITEM_PREV = DESIGN_COLUMNS + 7
# struct ksm_stable_node, [n_nodes]: a plain node, a dup on a chain, or a chain
NODE_FRAME = DESIGN_COLUMNS + 8  # int32
NODE_HEAD = DESIGN_COLUMNS + 9  # int32, first item; of a chain, first dup
NODE_LENGTH = DESIGN_COLUMNS + 10  # int32, rmap_hlist_len
NODE_CHAIN = DESIGN_COLUMNS + 11  # int32, the chain that this dup hangs off, NULL for a plain node
NODE_NEXT = DESIGN_COLUMNS + 12  # int32, neighbours on the chain
NODE_PREV = DESIGN_COLUMNS + 13
CHAIN_STAMP = DESIGN_COLUMNS + 14  # int64, jiffies at which the chain was pruned last
NODE_FREE = DESIGN_COLUMNS + 15  # int32, stack of free rows
# struct ksm_mm_slot, the ring of registered mms: [n_mms + 1], the last is its permanent head
SLOT_NEXT = DESIGN_COLUMNS + 16  # int32
SLOT_PREV = DESIGN_COLUMNS + 17
REGISTERED = DESIGN_COLUMNS + 18  # uint8 [n_mms] MMF_VM_MERGEABLE
SLOT_ITEMS = DESIGN_COLUMNS + 19  # int64 [n_mms] ksm_rmap_items
SLOT_MERGING = DESIGN_COLUMNS + 20  # int64 [n_mms] ksm_merging_pages
ROOTS = DESIGN_COLUMNS + 21  # int32 [2 * NUMA nodes] STABLE_TREE and UNSTABLE_TREE of each
LANE = DESIGN_COLUMNS + 23  # int64 [2 * warm.LANES + 1]
PATHS = DESIGN_COLUMNS + 24  # int32 [warm.NO_GUESS + 1]
SETTING_OF = DESIGN_COLUMNS + 22  # int32 [n_names] the scalar that a tune event's name means, or -1
NODE_NUMA = DESIGN_COLUMNS + 25  # int32, the NUMA node in whose tree a stable node is, or NO_TREE
ITEM_NUMA = DESIGN_COLUMNS + 26  # uint8 [n_entries] of its unstable tree; no rows where there is one NUMA node
INHERITED_ITEMS = DESIGN_COLUMNS + 27  # int64 [n_mms] what a fork handed on of SLOT_ITEMS and SLOT_MERGING
INHERITED_MERGING = DESIGN_COLUMNS + 28
HOLE_OF = DESIGN_COLUMNS + 29  # int32 [n_entries] the row of HOLE_STEPS for the pages that follow, or NULL
HOLE_STEPS = DESIGN_COLUMNS + 30  # int64 [n_holes] see holes

# rows of ROOTS, of NUMA node 0 or of all; node k's are 2 * k further
STABLE_TREE = np.int64(0)
UNSTABLE_TREE = np.int64(1)
NO_TREE = -1  # of a node that is parked

# bits of ITEM_STATE
EXISTS = 1
UNSTABLE = 2
STABLE = 4
CHECKSUMMED = 8  # OLDCHECKSUM says something

CHAIN = -2  # key of a row that is a chain; STALE (-1) and contents (>= 0) are the others'

_NODE_COLUMNS = (NODE_FRAME, NODE_HEAD, NODE_LENGTH, NODE_CHAIN, NODE_NEXT, NODE_PREV, NODE_FREE, NODE_NUMA)


def add_items(machine: Machine, n: int) -> None:
    """No items, for `n` entries."""
    for column in (ITEM_STATE, ITEM_SEQ, ITEM_AGE, REMAINING_SKIPS):
        machine[column] = np.zeros(n, np.uint8)
    machine[OLDCHECKSUM] = np.zeros(n, np.uint32)
    for column in (ITEM_NODE, ITEM_NEXT, ITEM_PREV):
        machine[column] = np.full(n, NULL, np.int32)


def add_nodes(machine: Machine, n: int) -> None:
    """Room for `n` stable nodes, none in use."""
    machine[NODE_ROWS] = make_rows(n)
    machine[CHAIN_STAMP] = np.zeros(n, np.int64)
    for column in _NODE_COLUMNS:
        machine[column] = np.full(n, NULL, np.int32)


def grow_nodes(machine: Machine, batch: int) -> None:
    """Room for the nodes that a batch of `batch` pages may make; what is there stays."""
    old = {column: machine[column] for column in (NODE_ROWS, CHAIN_STAMP, *_NODE_COLUMNS)}
    n = max(2 * len(old[NODE_FRAME]), int(machine.m[NEXT_NODE]) + 2 * batch + 2, 1024)
    add_nodes(machine, n)
    for column, array in old.items():
        machine[column][: len(array)] = array


def add_slots(machine: Machine, n_mms: int) -> None:
    """An empty ring."""
    for column in (SLOT_NEXT, SLOT_PREV):
        machine[column] = np.full(n_mms + 1, n_mms, np.int32)
    machine[REGISTERED] = np.zeros(n_mms, np.uint8)
    for column in (SLOT_ITEMS, SLOT_MERGING, INHERITED_ITEMS, INHERITED_MERGING):
        machine[column] = np.zeros(n_mms, np.int64)


def add_trees(machine: Machine, n_numa: int, n_entries: int) -> None:
    """Empty trees for `n_numa` NUMA nodes."""
    machine[ROOTS] = np.full(2 * n_numa, NULL, np.int32)
    machine[ITEM_NUMA] = np.zeros(n_entries if n_numa > 1 else 0, np.uint8)
    machine.m[PARKED] = NULL


@part
def new_node(m: Vector) -> Integer:
    """A row for a stable node or chain; the caller has made sure that there is room."""
    if m[NODE_FREE_TOP] > 0:
        m[NODE_FREE_TOP] -= 1
        n = i32(m, NODE_FREE)[m[NODE_FREE_TOP]]
    else:
        n = m[NEXT_NODE]
        m[NEXT_NODE] += 1
    i32(m, NODE_HEAD)[n] = NULL
    i32(m, NODE_LENGTH)[n] = 0
    i32(m, NODE_CHAIN)[n] = NULL
    return n


@part
def free_node(m: Vector, n: Integer) -> None:
    """Give a row back."""
    i32(m, NODE_FREE)[m[NODE_FREE_TOP]] = n
    m[NODE_FREE_TOP] += 1


@part
def numa_of(m: Vector, f: Integer) -> Integer:
    """The NUMA node in whose trees frame `f` belongs; all share those of node 0 while merge_across_nodes is 1."""
    return np.int64(0) if m[MERGE_ACROSS_NODES] else u8(m, NUMA)[f]


@part
def stable_tree_of(m: Vector, n: Integer) -> Integer:
    """The row of ROOTS of the tree that stable node or chain `n` is in."""
    return STABLE_TREE + 2 * i32(m, NODE_NUMA)[n]


@part
def mm_of(m: Vector, e: Integer) -> Integer:
    """The mm that entry `e` belongs to."""
    base = i64(m, BASE)
    low, high = 0, len(base)
    while low < high:
        middle = (low + high) >> 1
        if base[middle] <= e:
            low = middle + 1
        else:
            high = middle
    return low - 1


@part
def append(m: Vector, mm: Integer, e: Integer, n: Integer) -> None:
    """stable_tree_append: put item `e` at the front of node `n`'s list."""
    head = i32(m, NODE_HEAD)
    first = head[n]
    i32(m, ITEM_NEXT)[e] = first
    i32(m, ITEM_PREV)[e] = NULL
    if first >= 0:
        i32(m, ITEM_PREV)[first] = e
        m[Counter.PAGES_SHARING] += 1
    else:
        m[Counter.PAGES_SHARED] += 1
    head[n] = e
    i32(m, NODE_LENGTH)[n] += 1
    i32(m, ITEM_NODE)[e] = n
    u8(m, ITEM_STATE)[e] |= STABLE
    i64(m, SLOT_MERGING)[mm] += 1


@part
def is_candidate(m: Vector, n: Integer) -> Integer:
    """Whether node `n` may take one more item (4.1): none that lost all of its own, none that is full."""
    if not m[HAS_CHAINS]:
        return True
    length = i32(m, NODE_LENGTH)[n]
    return length >= 1 and length < m[MAX_PAGE_SHARING]


@part
def is_chain(m: Vector, n: Integer) -> Integer:
    """Whether row `n` is a chain."""
    return tree_rows(m, NODE_ROWS)[n, KEY] == CHAIN
