"""/dev/ksm, the ioctl device of spring 2009: address ranges registered with a descriptor.

Idea: a process opens the device and registers ranges of its memory; the kernel's memory management knows nothing of it.
The device holds a reference on the whole mm until the descriptor is closed, bills every page of every range whether it
is there or not, and merges a page that it sees for the first time with any that waits, without a look at its checksum.

Data structures: a list of regions with the cursor, items found by address, elements found through addresses.

Source: Izik Eidus and others, KSM v4 of 20 April 2009 as in mmotm with the fixes of May and June (`index_bug` takes
back that of 8 June), as told in `ksm-semantics.md` 10 (a); rule by rule in `docs/designs-2009.md` 2.
"""

import numpy as np

from ksmbench.designs.design import OF_2009, Design, Setting
from ksmbench.designs.review.holding import break_and_free, free_held, join_family, leave_family, lose_pairs
from ksmbench.designs.review.looping import STOP, finish_batch, next_action
from ksmbench.designs.review.merging import changed, has_quota, join, merge_pair
from ksmbench.designs.review.places import free_place, go_to, is_empty, link_before, make_place, unlink
from ksmbench.designs.review.running import (
    BYTES_PER_ENTRY,
    COMMON_SETTINGS,
    COUNTERS,
    SLEEP_SETTING,
    Parts,
    bind,
    wrprotect_setting,
)
from ksmbench.designs.review.scanning import bill
from ksmbench.designs.review.state import (
    BORN,
    BY_FORK,
    BY_MOVE,
    CURSOR,
    ENDED,
    EXIT_NS,
    FD,
    HEAD,
    HOLDERS,
    INDEX_BUG,
    ITEM_STATE,
    OFFSET,
    OPENED,
    PAGES_TO_SCAN,
    PARENT,
    PASS,
    PLACE_FIRST,
    PLACE_LAST,
    PLACE_MM,
    PLACE_NEXT,
    PLACE_OF,
    POSITION,
    REGIONS,
    RUN,
    TRACKED,
    UNSTABLE,
    hole_pages,
)
from ksmbench.designs.review.stores import UNSIGNED_MAX, setting_of, store_number
from ksmbench.designs.review.tree import (
    detach,
    drop_unstable_tree,
    free_item,
    is_ordinary,
    make_item,
    stable_search,
    unstable_search,
)
from ksmbench.engine.clock import DO_BATCH, DO_EVENT
from ksmbench.engine.columns import pinned
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ACTOR,
    ASKS,
    BASE,
    CONTENT,
    END,
    EVENT,
    FIRST,
    FLAGS,
    FRAME,
    HELD,
    IGNORE_TUNE,
    KIND,
    LAST,
    NOW,
    REFUSED,
    SPACE,
    SPACE_MM,
    UNMERGE_KEEPS_MERGED,
    VALUE,
    Vector,
    i32,
    i64,
    u8,
)
from ksmbench.engine.memory import MAPPED
from ksmbench.engine.parts import part
from ksmbench.engine.samples import DONE
from ksmbench.engine.verbs import ASKED, EXECED, EXITED, FORKED, MOVED, apply
from ksmbench.jit import Integer, kernel
from ksmbench.trace.schema import Advice, Kind

MAX_REGIONS = 1024  # of one descriptor
FD_WORDS = ("exit", "inherited", "held")
_AT_EXIT, _INHERITED, _HELD = 0, 1, 2
_HERE, _THERE = np.int64(0), np.int64(1)  # columns of PAIRS
_RUNNING = np.int64(0)


@part
def _register_run(m: Vector, mm: Integer, first: Integer, last: Integer, i: Integer) -> None:
    if i32(m, REGIONS)[mm] >= MAX_REGIONS:
        return
    if i64(m, OPENED)[mm] < 0:
        i64(m, OPENED)[mm] = i
        i32(m, HOLDERS)[mm] += 1
    place = make_place(m, mm, first, last)
    for e in range(first, last):
        i32(m, PLACE_OF)[e] = place
    link_before(m, place, HEAD)
    i32(m, REGIONS)[mm] += 1
    u8(m, HELD)[mm] = 1


@part
def _register(m: Vector, mm: Integer, first: Integer, last: Integer, i: Integer, mapped: Integer) -> None:
    # Every maximal part that is in no region yet; `mapped`: and in a private mapping.
    e = first
    while e < last:
        start = e
        while e < last and not i32(m, PLACE_OF)[e] and (not mapped or u8(m, FLAGS)[e] & MAPPED):
            e += 1
        if e > start:
            _register_run(m, mm, start, e, i)
        else:
            e += 1


@part
def _remove(m: Vector, place: Integer) -> None:
    mm = i32(m, PLACE_MM)[place]
    first, last = i64(m, PLACE_FIRST)[place], i64(m, PLACE_LAST)[place]
    break_and_free(m, mm, first, last, _RUNNING)
    for e in range(first, last):
        i32(m, PLACE_OF)[e] = 0
    following = i32(m, PLACE_NEXT)[place]
    if m[CURSOR] == place:
        _go_on_to(m, following)
    unlink(m, place)
    free_place(m, place)
    i32(m, REGIONS)[mm] -= 1
    u8(m, HELD)[mm] = i32(m, REGIONS)[mm] > 0


@part
def _remove_from(m: Vector, mm: Integer, first: Integer, last: Integer) -> None:
    # Every region of `mm` that begins at one of the entries first .. last - 1.
    place = i32(m, PLACE_NEXT)[HEAD]
    while place != HEAD:
        following = i32(m, PLACE_NEXT)[place]
        if i32(m, PLACE_MM)[place] == mm and first <= i64(m, PLACE_FIRST)[place] < last:
            _remove(m, place)
        place = following


@part
def _let_go(m: Vector, mm: Integer) -> None:
    # One holder less of the descriptor of `mm`, which may be the last.
    if m[FD] == _HELD:
        return
    i32(m, HOLDERS)[mm] -= 1
    if i32(m, HOLDERS)[mm] > 0 or i64(m, EXIT_NS)[mm] < 0:
        return
    _remove_from(m, mm, i64(m, BASE)[mm], i64(m, END)[mm])
    free_held(m, mm)


@part
def _inherits(m: Vector, child: Integer, owner: Integer) -> Integer:
    return i64(m, OPENED)[owner] >= 0 and i64(m, OPENED)[owner] < i64(m, BORN)[child]


@part
def _forked(m: Vector, mm: Integer, child: Integer, i: Integer) -> None:
    join_family(m, child, mm)
    lose_pairs(m, i, _THERE, BY_FORK)
    i32(m, PARENT)[child] = mm
    i64(m, BORN)[child] = i
    if m[FD] == _INHERITED:
        below, owner = child, mm
        while owner >= 0:
            if _inherits(m, below, owner):
                i32(m, HOLDERS)[owner] += 1
            below, owner = owner, i32(m, PARENT)[owner]
    if u8(m, ASKS)[child]:
        _register(m, child, i64(m, BASE)[child], i64(m, END)[child], i, True)


@part
def _gone(m: Vector, mm: Integer) -> None:
    # Its process exited, or execs something else.
    if u8(m, HELD)[mm]:
        i64(m, EXIT_NS)[mm] = m[NOW]
    else:
        leave_family(m, mm)
    if i64(m, OPENED)[mm] >= 0:
        _let_go(m, mm)
    if m[FD] == _INHERITED:
        below, owner = mm, i32(m, PARENT)[mm]
        while owner >= 0:
            if _inherits(m, below, owner):
                _let_go(m, owner)
            below, owner = owner, i32(m, PARENT)[owner]


@part
def _event(m: Vector, i: Integer) -> None:
    mm, kind, value = i32(m, ACTOR)[i], u8(m, KIND)[i], i64(m, VALUE)[i]
    if kind == Kind.TUNE:
        if not m[IGNORE_TUNE]:
            _store(m, setting_of(m, i), value)
        return
    if kind == Kind.PRCTL:
        return
    first, last = i64(m, FIRST)[i], i64(m, LAST)[i]
    told = apply(m, i)
    if told & FORKED:
        _forked(m, mm, value, i)
    elif told & (EXITED | EXECED):
        if told & EXECED:
            i64(m, SPACE_MM)[i32(m, SPACE)[mm]] = value
        _gone(m, mm)
    elif told & MOVED:
        lose_pairs(m, i, _THERE, BY_MOVE)
    elif kind == Kind.SHARE:
        lose_pairs(m, i, _HERE, BY_FORK)
    elif kind == Kind.MADVISE and value == Advice.UNMERGEABLE:
        _remove_from(m, mm, first, last)
    elif (kind == Kind.MADVISE and value == Advice.MERGEABLE) or (kind == Kind.MAP and told & ASKED):
        _register(m, mm, first, last, i, False)


@part
def _store(m: Vector, setting: Integer, value: Integer) -> None:
    if setting == RUN:
        ok = 0 <= value <= UNSIGNED_MAX
        if ok:
            m[RUN] = value & 1
    else:
        ok = store_number(m, setting, value)
    if not ok:
        m[REFUSED] += 1


@part
def _go_on_to(m: Vector, place: Integer) -> None:
    # The first index of that region, or past the end.
    go_to(m, place)
    if place == HEAD:
        m[ENDED] = 1


@part
def _step_on(m: Vector, n: Integer) -> None:
    # The cursor has seen `n` more indices of its region.
    m[OFFSET] += n
    if m[OFFSET] <= hole_pages(m, m[POSITION]):
        return
    m[OFFSET] = 0
    m[POSITION] += 1
    if m[POSITION] == i64(m, PLACE_LAST)[m[CURSOR]]:
        _go_on_to(m, i32(m, PLACE_NEXT)[m[CURSOR]])


@part
def _process(m: Vector, mm: Integer, e: Integer) -> None:
    # The ordinary page at `e`.
    state = u8(m, ITEM_STATE)[e]
    waits = (state & TRACKED) != 0
    if waits:
        free_item(m, mm, e)
    elif state & UNSTABLE:
        detach(m, e)
    live = stable_search(m, i32(m, CONTENT)[i32(m, FRAME)[e]])
    if live >= 0:
        make_item(m, mm, e)
        join(m, mm, e, live)
        return
    has_item = u8(m, ITEM_STATE)[e] != 0
    if has_item and changed(m, e):
        return
    t = unstable_search(m, e, has_item)
    if t >= 0:
        if has_quota(m):
            make_item(m, mm, e)
            merge_pair(m, mm, e, t)
    elif not has_item and not waits:
        make_item(m, mm, e)
        changed(m, e)


@part
def _batch(m: Vector) -> None:
    budget = m[PAGES_TO_SCAN]
    while budget > 0:
        if is_empty(m):
            return
        if m[CURSOR] == HEAD:
            is_first = m[PASS] == 0
            m[Counter.FULL_SCANS] += m[ENDED]
            m[ENDED] = 0
            drop_unstable_tree(m)
            go_to(m, i32(m, PLACE_NEXT)[HEAD])
            if is_first and m[INDEX_BUG]:
                _step_on(m, 1)
            continue
        e = m[POSITION]
        mm = i32(m, PLACE_MM)[m[CURSOR]]
        n = 1
        if m[OFFSET] == 0:
            bill(m, mm, i32(m, FRAME)[e] >= 0, 1)
            if is_ordinary(m, e):
                _process(m, mm, e)
        else:
            n = min(budget, hole_pages(m, e) + 1 - m[OFFSET])
            bill(m, mm, False, n)
        _step_on(m, n)
        budget -= n
    if m[INDEX_BUG] and m[CURSOR] != HEAD and m[PAGES_TO_SCAN] > 0:
        _step_on(m, 1)


@kernel
def loop_devksm(vector: Vector) -> Integer:
    """Go on with the replay until Python has to act."""
    m = pinned(vector)
    while True:
        todo = next_action(m, m[RUN] == 1 and not is_empty(m))
        if todo == DO_EVENT:
            _event(m, m[EVENT] - 1)
        elif todo == DO_BATCH:
            _batch(m)
            if finish_batch(m):
                return DONE
        else:
            return todo - STOP


DESIGN = Design(
    name="devksm-2009",
    summary="the ioctl device: address ranges with a descriptor, a reference on the mm, every index billed",
    source="Izik Eidus et al., KSM v4, linux-mm, 20 April 2009, with the fixes of May and June",
    family=OF_2009,
    settings=(
        Setting("run", 1, 0, UNSIGNED_MAX, "bit 0: 0 stops ksmd and keeps what is merged, 1 runs it"),
        *COMMON_SETTINGS,
        SLEEP_SETTING,
        wrprotect_setting("rmap"),
        Setting.of_words(
            "fd", "exit", FD_WORDS, "who holds the descriptor: its process, also those forked, or somebody for ever"
        ),
        Setting("index_bug", 0, 0, 1, "1: as before 8 June, the index moves on once more after every batch"),
    ),
    bytes_per_entry=BYTES_PER_ENTRY,
    counters=COUNTERS,
    run=bind(
        Parts(
            loop=loop_devksm,
            name="devksm.loop_devksm",
            scalars={UNMERGE_KEEPS_MERGED: 1},
            regions=True,
        )
    ),
)
