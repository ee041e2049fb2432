"""What the events of a trace do to memory, verb by verb (`trace-format.md`; `ksm-semantics.md` 8).

`apply` changes memory alone. What it means for a design's own lists (an mm that asks to be scanned, a fork, an exit)
is returned as bits, so that designs with and without callbacks share this file.
"""

from ksmbench.engine.machine import (
    ACTOR,
    ALIVE,
    ALLOCATE_ON,
    AS_IF,
    ASKS,
    BASE,
    BY_PRCTL,
    END,
    FIRST,
    FLAGS,
    FRAME,
    GAP_FIRST,
    GAPS,
    HELD,
    KIND,
    LAST,
    MERGE_ANY,
    MOVE_KEEPS_MERGED,
    NODE,
    NUMA,
    PAGE,
    PAIR_FIRST,
    PAIRS,
    TARGET_FIRST,
    TARGET_LAST,
    UNMERGE_KEEPS_MERGED,
    VALUE,
    ZERO_PAGES,
    Vector,
    i32,
    i64,
    u8,
)
from ksmbench.engine.memory import (
    ABSENT,
    DONTFORK,
    FILE,
    FOLIO_PAGES,
    KSM_ZERO,
    MAPPED,
    MERGEABLE,
    NEVER,
    OFF,
    ON,
    WIPEONFORK,
    ZEROED,
    break_entry,
    make_folio,
    map_frame,
    set_mergeable,
    touch_entry,
    unmap_entry,
    write_entry,
)
from ksmbench.engine.parts import part
from ksmbench.engine.tracking import note_dead_map
from ksmbench.jit import Integer, kernel
from ksmbench.trace.schema import Advice, Kind, Mapping

# What `apply` returns
NOTHING = 0
ASKED = 1  # the mm wants to be scanned
FORKED = 2  # `value` is the child
EXITED = 4
EXECED = 8  # exited, and `value` is the mm that goes on
MOVED = 16


@part
def _map(m: Vector, mm: Integer, first: Integer, last: Integer, mapping: Integer) -> Integer:
    flags = NEVER if mapping == Mapping.NEVER else MAPPED
    if mapping == Mapping.FILE:
        flags |= FILE
    merge = flags != NEVER and u8(m, MERGE_ANY)[mm] != 0
    for e in range(first, last):
        unmap_entry(m, mm, e)
        set_mergeable(m, mm, e, ON if merge else OFF)
        u8(m, FLAGS)[e] = flags | (u8(m, FLAGS)[e] & MERGEABLE)
    return ASKED if merge else NOTHING


@part
def _unmap(m: Vector, mm: Integer, first: Integer, last: Integer) -> None:
    for e in range(first, last):
        unmap_entry(m, mm, e)
        set_mergeable(m, mm, e, OFF)
        u8(m, FLAGS)[e] = 0


@part
def _ask(m: Vector, mm: Integer, first: Integer, last: Integer) -> Integer:
    asked = NOTHING
    for e in range(first, last):
        if u8(m, FLAGS)[e] & MAPPED and set_mergeable(m, mm, e, ON):
            asked = ASKED
    return asked


@part
def _unmerge(m: Vector, mm: Integer, first: Integer, last: Integer) -> None:
    for e in range(first, last):
        if u8(m, FLAGS)[e] & MERGEABLE:
            if not m[UNMERGE_KEEPS_MERGED]:
                break_entry(m, mm, e)
            set_mergeable(m, mm, e, OFF)


@part
def _madvise(m: Vector, mm: Integer, first: Integer, last: Integer, advice: Integer) -> Integer:
    if advice == Advice.MERGEABLE:
        return _ask(m, mm, first, last)
    if advice == Advice.UNMERGEABLE:
        _unmerge(m, mm, first, last)
    elif advice == Advice.DONTNEED:
        for e in range(first, last):
            unmap_entry(m, mm, e)
    elif advice == Advice.DONTFORK:
        for e in range(first, last):
            if u8(m, FLAGS)[e] & (MAPPED | NEVER):
                u8(m, FLAGS)[e] |= DONTFORK
    elif advice == Advice.WIPEONFORK:
        for e in range(first, last):
            if u8(m, FLAGS)[e] & (MAPPED | FILE) == MAPPED:  # the kernel refuses it for files
                u8(m, FLAGS)[e] |= WIPEONFORK
    elif advice == Advice.DOFORK or advice == Advice.KEEPONFORK:
        flag = DONTFORK if advice == Advice.DOFORK else WIPEONFORK
        for e in range(first, last):
            u8(m, FLAGS)[e] &= ~flag & 0xFF
    return NOTHING


@part
def _any_mapped(m: Vector, first: Integer, last: Integer) -> Integer:
    flags = u8(m, FLAGS)
    for e in range(first, last):
        if flags[e] & (MAPPED | NEVER):
            return True
    return False


@part
def _inherit(m: Vector, mm: Integer, source: Integer, first: Integer, n: Integer) -> None:
    # The absent entries first .. first + n - 1 get the mapping of entry `source`.
    flags = u8(m, FLAGS)
    for e in range(first, first + n):
        if flags[source] & MERGEABLE:
            set_mergeable(m, mm, e, ON)
        flags[e] = flags[source]


@part
def _move(m: Vector, mm: Integer, i: Integer) -> Integer:
    # mremap: what is merged in mergeable mappings is unshared first (8.8). A frame that became KSM's by a fork's other
    # side travels where the mapping is not mergeable, as the running kernel showed.
    first, last = i64(m, FIRST)[i], i64(m, LAST)[i]
    if i64(m, TARGET_FIRST)[i] < last and first < i64(m, TARGET_LAST)[i]:
        return NOTHING  # mremap refuses overlapping ranges
    if not _any_mapped(m, first, last):
        return NOTHING
    for e in range(first, last):
        if u8(m, FLAGS)[e] & MERGEABLE and not m[MOVE_KEEPS_MERGED]:
            break_entry(m, mm, e)
    _unmap(m, mm, i64(m, TARGET_FIRST)[i], i64(m, TARGET_LAST)[i])
    for row in range(i64(m, PAIR_FIRST)[i], i64(m, PAIR_FIRST)[i + 1]):
        for k in range(i64(m, PAIRS)[3 * row + 2]):
            here = i64(m, PAIRS)[3 * row + 0] + k
            there = i64(m, PAIRS)[3 * row + 1] + k
            flags = u8(m, FLAGS)[here]
            if flags & MERGEABLE:
                set_mergeable(m, mm, there, ON)
            u8(m, FLAGS)[there] = flags
            f = i32(m, FRAME)[here]
            if f >= 0 and i32(m, NODE)[f] != ZEROED:
                map_frame(m, there, f)
    # The target's pages that the source can never hold: mapped as their surroundings were.
    for row in range(i64(m, GAP_FIRST)[i], i64(m, GAP_FIRST)[i + 1]):
        _inherit(m, mm, i64(m, GAPS)[3 * row], i64(m, GAPS)[3 * row + 1], i64(m, GAPS)[3 * row + 2])
    _unmap(m, mm, first, last)
    return MOVED


@part
def _fork(m: Vector, parent: Integer, child: Integer, i: Integer) -> None:
    u8(m, ALIVE)[child] = 1
    u8(m, MERGE_ANY)[child] = u8(m, MERGE_ANY)[parent] & BY_PRCTL
    # The counter is copied with the rest of the mm, whatever the child's entries map (8.4).
    inherited = i64(m, ZERO_PAGES)[parent]
    for row in range(i64(m, PAIR_FIRST)[i], i64(m, PAIR_FIRST)[i + 1]):
        for k in range(i64(m, PAIRS)[3 * row + 2]):
            here = i64(m, PAIRS)[3 * row + 0] + k
            there = i64(m, PAIRS)[3 * row + 1] + k
            flags = u8(m, FLAGS)[here]
            if not flags & (MAPPED | NEVER) or flags & DONTFORK:
                continue
            if flags & MERGEABLE:
                set_mergeable(m, child, there, ON)
            u8(m, FLAGS)[there] = flags
            f = i32(m, FRAME)[here]
            if flags & WIPEONFORK or f == ABSENT:
                continue
            if f == KSM_ZERO:
                i32(m, FRAME)[there] = KSM_ZERO
            elif i32(m, NODE)[f] != ZEROED:
                map_frame(m, there, f)
    for row in range(i64(m, GAP_FIRST)[i], i64(m, GAP_FIRST)[i + 1]):
        source = i64(m, GAPS)[3 * row]
        if u8(m, FLAGS)[source] & (MAPPED | NEVER) and not u8(m, FLAGS)[source] & DONTFORK:
            _inherit(m, child, source, i64(m, GAPS)[3 * row + 1], i64(m, GAPS)[3 * row + 2])
    i64(m, ZERO_PAGES)[child] = inherited
    if u8(m, ASKS)[child]:
        u8(m, MERGE_ANY)[child] |= AS_IF
        _ask(m, child, i64(m, BASE)[child], i64(m, END)[child])


@part
def _share(m: Vector, mm: Integer, i: Integer) -> None:
    if not u8(m, ALIVE)[i64(m, VALUE)[i]]:
        return  # its memory may be there still, held by a design
    for row in range(i64(m, PAIR_FIRST)[i], i64(m, PAIR_FIRST)[i + 1]):
        for k in range(i64(m, PAIRS)[3 * row + 2]):
            here = i64(m, PAIRS)[3 * row + 0] + k
            f = i32(m, FRAME)[i64(m, PAIRS)[3 * row + 1] + k]
            if u8(m, FLAGS)[here] & MAPPED and f >= 0 and i32(m, NODE)[f] != ZEROED and i32(m, FRAME)[here] != f:
                unmap_entry(m, mm, here)
                map_frame(m, here, f)


@part
def _huge(m: Vector, mm: Integer, first: Integer, last: Integer, page: Integer, numa: Integer) -> None:
    # Every page of the range has an entry; the first whole aligned block begins a little later.
    start = first + (-page) % FOLIO_PAGES
    while start + FOLIO_PAGES <= last:
        whole = True
        for e in range(start, start + FOLIO_PAGES):
            if u8(m, FLAGS)[e] & (MAPPED | FILE) != MAPPED:  # private file mappings have no huge frames
                whole = False
                break
        if whole:
            make_folio(m, mm, start, numa)
        start += FOLIO_PAGES


@part
def free_mm(m: Vector, mm: Integer) -> None:
    """Unmap everything that `mm` has."""
    _unmap(m, mm, i64(m, BASE)[mm], i64(m, END)[mm])


@part
def _exit(m: Vector, mm: Integer) -> None:
    # Memory goes with the last reference: the process's own, but for designs that hold one.
    if len(u8(m, HELD)) > 0 and u8(m, HELD)[mm]:
        u8(m, ALIVE)[mm] = 0
        for e in range(i64(m, BASE)[mm], i64(m, END)[mm]):
            if i32(m, FRAME)[e] >= 0:
                note_dead_map(m, i32(m, FRAME)[e])
        return
    free_mm(m, mm)
    u8(m, ALIVE)[mm] = 0


@part
def _prctl(m: Vector, mm: Integer, on: Integer) -> Integer:
    if on:
        if u8(m, MERGE_ANY)[mm] & BY_PRCTL:
            return NOTHING  # the kernel leaves it at that, also where a mapping lost its flag since
        u8(m, MERGE_ANY)[mm] |= BY_PRCTL
        _ask(m, mm, i64(m, BASE)[mm], i64(m, END)[mm])
        return ASKED
    if u8(m, MERGE_ANY)[mm]:
        _unmerge(m, mm, i64(m, BASE)[mm], i64(m, END)[mm])
        u8(m, MERGE_ANY)[mm] = 0
    return NOTHING


@kernel
def apply(m: Vector, i: Integer) -> Integer:
    """Apply event `i`; returns what a design may want to know (ASKED, FORKED, EXITED, EXECED).

    What is odd (a write outside any mapping) changes nothing.
    """
    kind = u8(m, KIND)[i]
    mm = i32(m, ACTOR)[i]
    first, last = i64(m, FIRST)[i], i64(m, LAST)[i]
    value = i64(m, VALUE)[i]
    if kind == Kind.WRITE:
        for e in range(first, last):
            if u8(m, FLAGS)[e] & MAPPED:
                write_entry(m, mm, e, value, u8(m, ALLOCATE_ON)[i])
    elif kind == Kind.TOUCH:
        for e in range(first, last):
            if u8(m, FLAGS)[e] & MAPPED:
                touch_entry(m, mm, e, u8(m, ALLOCATE_ON)[i])
    elif kind == Kind.MAP:
        return _map(m, mm, first, last, value)
    elif kind == Kind.UNMAP:
        _unmap(m, mm, first, last)
    elif kind == Kind.MADVISE:
        return _madvise(m, mm, first, last, value)
    elif kind == Kind.MOVE:
        return _move(m, mm, i)
    elif kind == Kind.FORK:
        _fork(m, mm, value, i)
        return FORKED
    elif kind == Kind.SHARE:
        _share(m, mm, i)
    elif kind == Kind.HUGE:
        _huge(m, mm, first, last, i64(m, PAGE)[i], u8(m, ALLOCATE_ON)[i])
    elif kind == Kind.MIGRATE:
        for e in range(first, last):
            if i32(m, FRAME)[e] >= 0:
                u8(m, NUMA)[i32(m, FRAME)[e]] = value
    elif kind == Kind.SWAPOUT:
        for e in range(first, last):
            unmap_entry(m, mm, e)
    elif kind == Kind.PRCTL:
        return _prctl(m, mm, value)
    elif kind == Kind.EXIT:
        _exit(m, mm)
        return EXITED
    elif kind == Kind.EXEC:
        u8(m, ALIVE)[value] = 1
        u8(m, MERGE_ANY)[value] = u8(m, MERGE_ANY)[mm]
        _exit(m, mm)
        return EXECED
    return NOTHING
