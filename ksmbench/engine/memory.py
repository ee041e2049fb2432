"""The simulated machine's memory: page-table entries, frames with identity, copy-on-write.

Every design stands on these primitives; which frames are merged, and when, is the design's. A page-table entry is a
row of the columns ROWS, FRAME, FLAGS (see `ksmbench.engine.plan` for how pages become rows), a frame is a row of
CONTENT, MAPCOUNT, NODE, FOLIO, NUMA. Memory: 21 bytes per entry and 21 per frame, of which there are at most as many
as entries.

A mapping of the kernel's zero page that nobody merged is not kept: no counter tells it from an absent page.
"""

import numpy as np

from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    BASE,
    CONTENT,
    DEAD_MAPS,
    DISTINCT,
    END,
    FLAGS,
    FOLIO,
    FOLIO_FRAMES,
    FRAME,
    FREE,
    FREE_TOP,
    LOST,
    MAPCOUNT,
    MERGEABLE_ENTRIES,
    MIXED,
    MIXED_CONTENTS,
    NEXT_FOLIO,
    NEXT_FRAME,
    NO_HUGE,
    NODE,
    NODE_ROWS,
    NUMA,
    PEAK_FRAMES,
    PLAIN,
    PLAIN_FRAMES,
    REFS,
    REUSES_IN_PLACE,
    ROWS,
    SHARED_CONTENTS,
    SPLIT_KEEPS_ZEROES,
    ZERO_PAGES,
    ZERO_UNTOLD,
    Machine,
    Vector,
    i32,
    i64,
    tree_rows,
    u8,
)
from ksmbench.engine.parts import part
from ksmbench.engine.rbtree import KEY, make_rows
from ksmbench.engine.tracking import add_tracking, untrack
from ksmbench.jit import Integer

# flags of an entry: what its mapping is
MAPPED = 1  # in a private mapping (anonymous or file); others are never seen by a design
MERGEABLE = 2  # VM_MERGEABLE
DONTFORK = 4
WIPEONFORK = 8
FILE = 16  # in a private mapping of a file
NEVER = 32  # in a mapping that no design sees, but that a move carries

# values of `frame` below 0
ABSENT = -1
KSM_ZERO = -2  # the zero page, placed by the design: counted, and told apart by its dirty bit

# values of `node` of a frame below 0: what the frame is
ORDINARY = -1
KSM_WITHOUT_NODE = -2  # upgraded in place, not (or no longer) in a tree
ZEROED = -3  # a zero-filled part of a huge frame that was split: its entries map the zero page

NO_FOLIO = -1
FOLIO_PAGES = 512

# As numpy's integers: numba compiles a function again for every literal that it is called with.
ON = np.int64(1)
OFF = np.int64(0)
_IN = np.int64(1)
_OUT = np.int64(-1)
_ZERO = np.int64(0)

STALE = -1  # key of a stable node whose frame is gone


def add_memory(machine: Machine, n_entries: int, n_mms: int, n_folios: int, n_contents: int = 0) -> None:
    """Empty memory; `n_contents` above 0 makes it count for `oracle`."""
    n_frames = n_entries + 2  # a copy is made before the old frame goes
    machine[ROWS] = make_rows(n_entries)
    machine[FRAME] = np.full(n_entries, ABSENT, np.int32)
    machine[FLAGS] = np.zeros(n_entries, np.uint8)
    for column in (CONTENT, MAPCOUNT, NODE, FOLIO, FREE):
        machine[column] = np.zeros(n_frames, np.int32)
    machine[NUMA] = np.zeros(n_frames, np.uint8)
    machine[FOLIO_FRAMES] = np.zeros(n_folios * FOLIO_PAGES, np.int32)
    machine[NODE_ROWS] = make_rows(0)
    for column in (MERGEABLE_ENTRIES, ZERO_PAGES):
        machine[column] = np.zeros(n_mms, np.int64)
    for column in (REFS, MIXED):
        machine[column] = np.zeros(n_contents, np.int32)
    machine[PLAIN] = np.zeros(n_frames if n_contents else 0, np.int32)
    add_tracking(machine, 0, 0)


@part
def count_frame(m: Vector, f: Integer, sign: Integer) -> None:
    """Add (`sign` 1) or take away (-1) what frame `f` means to `oracle`, before and after any change of it.

    The oracle holds every distinct content of mergeable entries once, and every frame that other entries map; a frame
    that both kinds map can be the one that holds its content, once per content.
    """
    if len(i32(m, REFS)) == 0 or i32(m, MAPCOUNT)[f] == 0:
        return
    plain = i32(m, PLAIN)[f]
    mergeable = i32(m, MAPCOUNT)[f] - plain
    content = i32(m, CONTENT)[f]
    if plain > 0:
        m[PLAIN_FRAMES] += sign
    if mergeable > 0:
        before = i32(m, REFS)[content]
        after = before + sign * mergeable
        i32(m, REFS)[content] = after
        if content != 0:
            m[DISTINCT] += int(after > 0) - int(before > 0)
            m[SHARED_CONTENTS] += int(after > 1) - int(before > 1)
            if plain > 0:
                before = i32(m, MIXED)[content]
                i32(m, MIXED)[content] = before + sign
                m[MIXED_CONTENTS] += int(before + sign > 0) - int(before > 0)


@part
def new_frame(m: Vector, content: Integer, numa: Integer) -> Integer:
    """A frame with this content that nothing maps yet."""
    if m[FREE_TOP] > 0:
        m[FREE_TOP] -= 1
        f = i32(m, FREE)[m[FREE_TOP]]
    else:
        f = m[NEXT_FRAME]
        m[NEXT_FRAME] += 1
    i32(m, CONTENT)[f] = content
    i32(m, MAPCOUNT)[f] = 0
    i32(m, NODE)[f] = ORDINARY
    i32(m, FOLIO)[f] = NO_FOLIO
    u8(m, NUMA)[f] = numa
    if len(i32(m, PLAIN)) > 0:
        i32(m, PLAIN)[f] = 0
    return f


@part
def map_frame(m: Vector, e: Integer, f: Integer) -> None:
    """Let the absent entry `e` map frame `f`."""
    count_frame(m, f, _OUT)
    if len(i32(m, DEAD_MAPS)) > 0 and 0 < i32(m, MAPCOUNT)[f] == i32(m, DEAD_MAPS)[f]:
        m[Counter.DEAD_PAGES] -= 1
    i32(m, FRAME)[e] = f
    i32(m, MAPCOUNT)[f] += 1
    m[Counter.PAGES_ANON] += 1
    if i32(m, MAPCOUNT)[f] == 1:
        m[Counter.FRAMES] += 1
        m[PEAK_FRAMES] = max(m[PEAK_FRAMES], m[Counter.FRAMES])
    if u8(m, FLAGS)[e] & MERGEABLE:
        tree_rows(m, ROWS)[e, KEY] = i32(m, CONTENT)[f]
    elif len(i32(m, PLAIN)) > 0:
        i32(m, PLAIN)[f] += 1
    count_frame(m, f, _IN)


@part
def unmap_entry(m: Vector, mm: Integer, e: Integer) -> None:
    """Make `e` absent; a frame that nothing maps any more is freed, and its stable node is stale."""
    f = i32(m, FRAME)[e]
    if f == ABSENT:
        return
    i32(m, FRAME)[e] = ABSENT
    tree_rows(m, ROWS)[e, KEY] = -1
    if f == KSM_ZERO:
        m[Counter.KSM_ZERO_PAGES] -= 1
        i64(m, ZERO_PAGES)[mm] -= 1
        return
    count_frame(m, f, _OUT)
    if len(u8(m, LOST)) > 0:
        untrack(m, mm, e, f)
    i32(m, MAPCOUNT)[f] -= 1
    if len(i32(m, PLAIN)) > 0 and not u8(m, FLAGS)[e] & MERGEABLE:
        i32(m, PLAIN)[f] -= 1
    node = i32(m, NODE)[f]
    if node != ZEROED:
        m[Counter.PAGES_ANON] -= 1
    if i32(m, MAPCOUNT)[f] == 0:
        if node != ZEROED:
            m[Counter.FRAMES] -= 1
        if node == KSM_WITHOUT_NODE or node >= 0:
            m[Counter.FRAMES_KSM] -= 1
        if node >= 0:
            tree_rows(m, NODE_ROWS)[node, KEY] = STALE
        i32(m, FREE)[m[FREE_TOP]] = f
        m[FREE_TOP] += 1
    else:
        count_frame(m, f, _IN)


@part
def is_ksm(m: Vector, f: Integer) -> Integer:
    """Whether frame `f` is the design's merged frame."""
    node = i32(m, NODE)[f]
    return node >= 0 or node == KSM_WITHOUT_NODE


@part
def billable_content(m: Vector, e: Integer) -> Integer:
    """The content of the present anonymous page at `e` in a mergeable mapping, or -1."""
    content = tree_rows(m, ROWS)[e, KEY]
    if content == 0 and i32(m, NODE)[i32(m, FRAME)[e]] == ZEROED:
        return -1
    return content


@part
def forsake_node(m: Vector, f: Integer) -> None:
    """The merged frame `f` becomes an ordinary one; its node is stale by that."""
    tree_rows(m, NODE_ROWS)[i32(m, NODE)[f], KEY] = STALE
    i32(m, NODE)[f] = ORDINARY
    m[Counter.FRAMES_KSM] -= 1


@part
def _maps_folio_alone(m: Vector, mm: Integer, e: Integer, f: Integer) -> Integer:
    # Whether no other mm maps any part of the huge frame that `f`, mapped at `e`, is part of. The parts lie in address
    # order from wherever the first is mapped, as nothing but a move tears them apart.
    folio = i32(m, FOLIO)[f]
    if folio == NO_FOLIO:
        return True
    frame, parts = i32(m, FRAME), i32(m, FOLIO_FRAMES)
    place = 0
    while parts[folio * FOLIO_PAGES + place] != f:
        place += 1
    others = 0
    for k in range(FOLIO_PAGES):
        part = parts[folio * FOLIO_PAGES + k]
        if i32(m, FOLIO)[part] == folio:
            others += i32(m, MAPCOUNT)[part]
            there = e + k - place
            if i64(m, BASE)[mm] <= there < i64(m, END)[mm] and frame[there] == part:
                others -= 1
    return others == 0


@part
def write_entry(m: Vector, mm: Integer, e: Integer, content: Integer, numa: Integer) -> None:
    """A write fault and its bytes: a frame of one's own is written in place, any other is copied.

    Part of a huge frame is one's own while nobody else maps any part of it.
    """
    f = i32(m, FRAME)[e]
    if f >= 0:
        if m[REUSES_IN_PLACE] and i32(m, NODE)[f] >= 0 and i32(m, MAPCOUNT)[f] == 1:
            forsake_node(m, f)
        if i32(m, NODE)[f] == ORDINARY and i32(m, MAPCOUNT)[f] == 1 and _maps_folio_alone(m, mm, e, f):
            count_frame(m, f, _OUT)
            i32(m, CONTENT)[f] = content
            if u8(m, FLAGS)[e] & MERGEABLE:
                tree_rows(m, ROWS)[e, KEY] = content
            count_frame(m, f, _IN)
            return
        if is_ksm(m, f):
            m[Counter.COW_BREAKS] += 1
    unmap_entry(m, mm, e)
    map_frame(m, e, new_frame(m, content, numa))


@part
def touch_entry(m: Vector, mm: Integer, e: Integer, numa: Integer) -> None:
    """A write of the bytes that are there; an absent page is filled with zeroes."""
    f = i32(m, FRAME)[e]
    write_entry(m, mm, e, i32(m, CONTENT)[f] if f >= 0 else _ZERO, numa)


@part
def break_entry(m: Vector, mm: Integer, e: Integer) -> None:
    """Unshare a merged page: `e` gets a frame of its own with the same content, on NUMA node 0.

    The kernel takes it from the node of the processor that unshares, which no trace tells.
    """
    f = i32(m, FRAME)[e]
    if f == KSM_ZERO:
        unmap_entry(m, mm, e)
        map_frame(m, e, new_frame(m, _ZERO, _ZERO))
    elif f >= 0 and is_ksm(m, f):
        m[Counter.COW_BREAKS] += 1
        copy = new_frame(m, i32(m, CONTENT)[f], _ZERO)
        unmap_entry(m, mm, e)
        map_frame(m, e, copy)


@part
def set_mergeable(m: Vector, mm: Integer, e: Integer, on: Integer) -> Integer:
    """Set or clear VM_MERGEABLE at `e`; whether that changed something."""
    is_on = (u8(m, FLAGS)[e] & MERGEABLE) != 0
    if is_on == (on != 0):
        return False
    f = i32(m, FRAME)[e]
    u8(m, FLAGS)[e] ^= MERGEABLE
    if f >= 0:
        count_frame(m, f, _OUT)
        if len(i32(m, PLAIN)) > 0:
            i32(m, PLAIN)[f] += -1 if on else 1
        tree_rows(m, ROWS)[e, KEY] = i32(m, CONTENT)[f] if on else -1
        count_frame(m, f, _IN)
    i64(m, MERGEABLE_ENTRIES)[mm] += 1 if on else -1
    return True


@part
def replace_frame(m: Vector, mm: Integer, e: Integer, target: Integer) -> None:
    """A merge: `e` maps frame `target` (of equal content) instead of its own."""
    unmap_entry(m, mm, e)
    map_frame(m, e, target)
    m[Counter.MERGES] += 1


@part
def replace_by_zero(m: Vector, mm: Integer, e: Integer) -> None:
    """A merge with the zero page: no frame is used any more."""
    unmap_entry(m, mm, e)
    m[Counter.MERGES] += 1
    if m[ZERO_UNTOLD]:
        return
    i32(m, FRAME)[e] = KSM_ZERO
    m[Counter.KSM_ZERO_PAGES] += 1
    i64(m, ZERO_PAGES)[mm] += 1


@part
def split_folio(m: Vector, folio: Integer) -> None:
    """Split a huge frame; its zero-filled parts vanish, as the kernel maps the zero page in their place."""
    for place in range(FOLIO_PAGES):
        f = i32(m, FOLIO_FRAMES)[folio * FOLIO_PAGES + place]
        if i32(m, FOLIO)[f] != folio or i32(m, MAPCOUNT)[f] == 0:
            continue
        i32(m, FOLIO)[f] = NO_FOLIO
        if i32(m, CONTENT)[f] == 0 and not m[SPLIT_KEEPS_ZEROES]:
            i32(m, NODE)[f] = ZEROED
            m[Counter.PAGES_ANON] -= i32(m, MAPCOUNT)[f]
            m[Counter.FRAMES] -= 1


@part
def make_folio(m: Vector, mm: Integer, first: Integer, numa: Integer) -> None:
    """Back the FOLIO_PAGES entries from `first` by one huge frame, contents unchanged."""
    folio = m[NEXT_FOLIO]
    m[NEXT_FOLIO] += 1
    for place in range(FOLIO_PAGES):
        e = first + place
        break_entry(m, mm, e)
        f = i32(m, FRAME)[e]
        content = i32(m, CONTENT)[f] if f >= 0 else _ZERO
        unmap_entry(m, mm, e)
        f = new_frame(m, content, numa)
        if not m[NO_HUGE]:
            i32(m, FOLIO)[f] = folio
        i32(m, FOLIO_FRAMES)[folio * FOLIO_PAGES + place] = f
        map_frame(m, e, f)
