"""What the designs of 2009 keep: their scalars and columns of the vector `m` (`ksmbench.engine.machine`).

An item is the row of the page-table entry it is about; items of addresses that can never be present are only counted,
per hole (the never present pages that follow an entry). An element of the stable tree is a row of the ELEMENT columns
with its tree links in NODE_ROWS: there are never more than items. A *place* is what the scan goes through one after the
other: an mm, a region of the device or an area; place 0 is the list's head. Memory: 61 bytes per entry, and where
places are regions or areas 41 more.
"""

from typing import Any

import numpy as np

from ksmbench.engine.machine import (
    BASE,
    DESIGN_COLUMNS,
    DESIGN_SCALARS,
    NODE_ROWS,
    Machine,
    Vector,
    i32,
    i64,
)
from ksmbench.engine.parts import part
from ksmbench.engine.plan import Plan
from ksmbench.engine.rbtree import make_rows
from ksmbench.jit import Integer

NULL = np.int64(-1)
HEAD = np.int64(0)  # of the list of places

# Scalars: the scan
CURSOR = DESIGN_SCALARS + 0  # the place that the scan is at; HEAD between passes
POSITION = DESIGN_SCALARS + 1  # the entry it goes on from,
OFFSET = DESIGN_SCALARS + 2  # and how many of its addresses (itself, then its hole) have been seen
PASS = DESIGN_SCALARS + 3  # counts the unstable trees that were begun
SELECTED = DESIGN_SCALARS + 4  # 1: the RFC's walk has selected the mm at the cursor
ENDED = DESIGN_SCALARS + 5  # 1: the device's cursor went past the last region
WORK = DESIGN_SCALARS + 6  # since the last moment for Python
ELEMENT_FREE_TOP = DESIGN_SCALARS + 7
NEXT_ELEMENT = DESIGN_SCALARS + 8
PLACE_FREE_TOP = DESIGN_SCALARS + 9
NEXT_PLACE = DESIGN_SCALARS + 10
OUTSIDE_ITEMS = DESIGN_SCALARS + 11
# the settings, as they are now
RUN = DESIGN_SCALARS + 12
PAGES_TO_SCAN = DESIGN_SCALARS + 13
SLEEP_MILLISECS = DESIGN_SCALARS + 14
SLEEP = DESIGN_SCALARS + 15  # microseconds; 0: SLEEP_MILLISECS holds
MAX_KERNEL_PAGES = DESIGN_SCALARS + 16  # 0: no limit
WRPROTECT = DESIGN_SCALARS + 17  # 0: through the reverse map, 1: one entry
FD = DESIGN_SCALARS + 18  # who holds the device open, see devksm
INDEX_BUG = DESIGN_SCALARS + 19
CALLBACKS = DESIGN_SCALARS + 20  # bits, see madvise_rfc
MERGE_PID = DESIGN_SCALARS + 21  # a space that is to be merged as soon as it lives, or -1
BY_VMA = DESIGN_SCALARS + 22  # 1: places are areas
# what the design decides; 1 is yes
WAITS = DESIGN_SCALARS + 23  # a page that was tracked at its visit is not looked at further in that pass
FORGETS = DESIGN_SCALARS + 24  # who leaves the stable tree loses its checksum
BREAKS_FAILED = DESIGN_SCALARS + 25  # a pair that finds no room in the stable tree is broken; else it stays outside
NEEDS_MERGEABLE = DESIGN_SCALARS + 26  # a page of the unstable tree must be mergeable still
BILLS_ABSENT = DESIGN_SCALARS + 27  # an address costs a step whether present or not, and gets an item

# Columns: items, [n_entries]
ITEM_STATE = DESIGN_COLUMNS + 0  # uint8 EXISTS | UNSTABLE | STABLE | OUTSIDE | CHECKSUMMED
ITEM_PASS = DESIGN_COLUMNS + 1  # int32, PASS when put into the unstable tree
OLDCHECKSUM = DESIGN_COLUMNS + 2  # uint32
ITEM_ELEMENT = DESIGN_COLUMNS + 3  # int32, where STABLE
ITEM_NEXT = DESIGN_COLUMNS + 4  # int32, neighbours on the element's list
ITEM_PREV = DESIGN_COLUMNS + 5
# addresses, [n_entries]
PAGES = DESIGN_COLUMNS + 6  # int64, page number
HOLE_OF = DESIGN_COLUMNS + 7  # int32, the hole that follows, or -1
PLACE_OF = DESIGN_COLUMNS + 8  # int32, the region or area that the address is in, 0: none
HOLE_PAGES = DESIGN_COLUMNS + 9  # int64 [n_holes]
HOLE_ITEMS = DESIGN_COLUMNS + 10  # int64 [n_holes] how many of them have an item, from the first on
# elements, [n_entries]
ELEMENT_HEAD = DESIGN_COLUMNS + 11  # int32, first item of the list
ELEMENT_FREE = DESIGN_COLUMNS + 12  # int32, stack of free rows
# places, [n_places]
PLACE_NEXT = DESIGN_COLUMNS + 13  # int32, neighbours on the list
PLACE_PREV = DESIGN_COLUMNS + 14
PLACE_MM = DESIGN_COLUMNS + 15  # int32
PLACE_FIRST = DESIGN_COLUMNS + 16  # int64, entries FIRST .. LAST - 1
PLACE_LAST = DESIGN_COLUMNS + 17
PLACE_ENTRIES = DESIGN_COLUMNS + 18  # int64, how many of them still belong to it
PLACE_FREE = DESIGN_COLUMNS + 19  # int32, stack of free rows
LISTED = DESIGN_COLUMNS + 20  # uint8, is on the list
# mms, [n_mms]
SLOT = DESIGN_COLUMNS + 21  # uint8, has a slot
TOUCHED = DESIGN_COLUMNS + 22  # uint8
FLAGGED = DESIGN_COLUMNS + 23  # uint8, the mm's own flag
MERGE_ALL = DESIGN_COLUMNS + 24  # uint8, by merge_pid
SLOT_ITEMS = DESIGN_COLUMNS + 25  # int64
EXIT_NS = DESIGN_COLUMNS + 26  # int64, when it exited, while its memory is held since; else -1
FAMILY_NEXT = DESIGN_COLUMNS + 27  # int32, ring of mms that forks connect and whose memory is not freed
FAMILY_PREV = DESIGN_COLUMNS + 28
PARENT = DESIGN_COLUMNS + 29  # int32, or -1
BORN = DESIGN_COLUMNS + 30  # int64, event of the fork
OPENED = DESIGN_COLUMNS + 31  # int64, event of the first registration, or -1
HOLDERS = DESIGN_COLUMNS + 32  # int32, how many hold its descriptor
REGIONS = DESIGN_COLUMNS + 33  # int32, how many it has
SETTING_OF = DESIGN_COLUMNS + 34  # int32 [n_names] scalar of the setting that each of the trace's names is, or -1
ROOTS = DESIGN_COLUMNS + 35  # int32 [2]

STABLE_TREE = np.int64(0)
UNSTABLE_TREE = np.int64(1)

EXISTS = 1
UNSTABLE = 2
STABLE = 4
OUTSIDE = 8
CHECKSUMMED = 16
TRACKED = STABLE | OUTSIDE

# why nothing tracks a merged entry: Counter.LOST_PTES + cause counts it
BY_FORK = np.int64(1)
BY_MOVE = np.int64(2)
BY_UNMAP = np.int64(3)
BY_UNMERGE = np.int64(4)
TRACKED_AGAIN = np.int64(0)

MERGE_PID_STORE = -2  # numbers of SETTING_OF for the files that are no setting
UNMERGE_PID_STORE = -3


def add_items(machine: Machine, plan: Plan) -> None:
    """No items yet for the entries of the plan, and for the holes between them."""
    n = plan.n_entries
    entry, first, stop = plan.holes()
    hole_of = np.full(n, NULL, np.int32)
    hole_of[entry] = np.arange(len(entry))
    machine[PAGES] = plan.pages()
    machine[HOLE_OF] = hole_of
    machine[HOLE_PAGES] = stop - first
    machine[HOLE_ITEMS] = np.zeros(len(entry), np.int64)
    machine[ITEM_STATE] = np.zeros(n, np.uint8)
    machine[OLDCHECKSUM] = np.zeros(n, np.uint32)
    for column in (ITEM_PASS, ITEM_ELEMENT, ITEM_NEXT, ITEM_PREV, PLACE_OF, ELEMENT_HEAD, ELEMENT_FREE):
        machine[column] = np.zeros(n, np.int32)
    machine[NODE_ROWS] = make_rows(n)
    machine[ROOTS] = np.full(2, NULL, np.int32)


def add_places(machine: Machine, n: int) -> None:
    """An empty list of places, of which there can be `n`."""
    for column in (PLACE_NEXT, PLACE_PREV, PLACE_MM, PLACE_FREE):
        machine[column] = np.zeros(n + 1, np.int32)
    for column in (PLACE_FIRST, PLACE_LAST, PLACE_ENTRIES):
        machine[column] = np.zeros(n + 1, np.int64)
    machine[LISTED] = np.zeros(n + 1, np.uint8)
    machine.m[NEXT_PLACE] = 1


def add_mms(machine: Machine, n: int) -> None:
    """Mms that are not known to the design yet."""
    for column in (SLOT, TOUCHED, FLAGGED, MERGE_ALL):
        machine[column] = np.zeros(n, np.uint8)
    for column in (EXIT_NS, OPENED):
        machine[column] = np.full(n, NULL, np.int64)
    for column in (SLOT_ITEMS, BORN):
        machine[column] = np.zeros(n, np.int64)
    for column in (FAMILY_NEXT, FAMILY_PREV):
        machine[column] = np.arange(n, dtype=np.int32)
    machine[PARENT] = np.full(n, NULL, np.int32)
    for column in (HOLDERS, REGIONS):
        machine[column] = np.zeros(n, np.int32)


def place_per_mm(machine: Machine) -> None:
    """Let place mm + 1 stand for mm, none of them listed."""
    base: Any = machine[BASE]
    n = len(base)
    machine[PLACE_MM][1 : n + 1] = np.arange(n)
    machine[PLACE_FIRST][1 : n + 1] = base
    machine[PLACE_LAST][1 : n + 1] = np.append(base[1:], len(machine[PAGES]))
    machine.m[NEXT_PLACE] = n + 1


@part
def hole_pages(m: Vector, e: Integer) -> Integer:
    """How many never present pages follow entry `e` in its mm; their mapping is always that of `e`."""
    h = i32(m, HOLE_OF)[e]
    return i64(m, HOLE_PAGES)[h] if h >= 0 else 0
