"""The madvise RFC of 14 May 2009: MADV_SHAREABLE, the global mmlist, and no callback anywhere.

Idea: leave mm alone. madvise marks mappings and puts the mm on mmlist, which swapoff has already; ksmd walks that list.
It takes a reference on every mm it works on, so nothing can vanish under it, and finds out by itself, up to two passes
later, who has exited. What forks, mremap and munmap do it does not learn. `callbacks` adds them one by one, so that
what each is worth can be measured alone.

Data structures: mmlist with the cursor, a slot with items per mm, elements found through addresses, the unstable tree.

Source: Izik Eidus, "[PATCH 0/4] RFC - ksm api change into madvise", linux-mm, 14 May 2009, as told in
`ksm-semantics.md` 10 (b); rule by rule in `docs/designs-2009.md` 3.
"""

import numpy as np

from ksmbench.designs.design import OF_2009, Design, Setting
from ksmbench.designs.review.callbacks import fork_callback, mremap_callback
from ksmbench.designs.review.holding import (
    free_all_items,
    free_items,
    join_family,
    leave_family,
    lose_pairs,
)
from ksmbench.designs.review.looping import STOP, finish_batch, next_action
from ksmbench.designs.review.mmlist import CALLBACK_WORDS, FORK, MREMAP, MUNMAP, ask, list_mm, make_slot, release
from ksmbench.designs.review.places import go_to, is_empty, retire
from ksmbench.designs.review.running import (
    BYTES_PER_ENTRY,
    COMMON_SETTINGS,
    COUNTERS,
    SLEEP_SETTING,
    Parts,
    bind,
    wrprotect_setting,
)
from ksmbench.designs.review.scanning import scan_place
from ksmbench.designs.review.state import (
    BILLS_ABSENT,
    BY_FORK,
    BY_MOVE,
    CALLBACKS,
    CURSOR,
    EXIT_NS,
    FLAGGED,
    HEAD,
    LISTED,
    MERGE_ALL,
    MERGE_PID,
    MERGE_PID_STORE,
    PAGES_TO_SCAN,
    PLACE_MM,
    PLACE_NEXT,
    RUN,
    SELECTED,
    SLOT,
    TOUCHED,
    UNMERGE_PID_STORE,
    WAITS,
)
from ksmbench.designs.review.stores import setting_of, store_number
from ksmbench.designs.review.tree import (
    drop_unstable_tree,
)
from ksmbench.engine.clock import DO_BATCH, DO_EVENT
from ksmbench.engine.columns import pinned
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ACTOR,
    ALIVE,
    ASKS,
    BASE,
    END,
    EVENT,
    FIRST,
    FLAGS,
    HELD,
    IGNORE_TUNE,
    KIND,
    LAST,
    MERGEABLE_ENTRIES,
    NOW,
    REFUSED,
    SPACE,
    SPACE_MM,
    TARGET_FIRST,
    TARGET_LAST,
    UNMERGE_KEEPS_MERGED,
    VALUE,
    Vector,
    i32,
    i64,
    u8,
)
from ksmbench.engine.memory import MAPPED, MERGEABLE
from ksmbench.engine.parts import part
from ksmbench.engine.samples import DONE
from ksmbench.engine.verbs import ASKED, EXECED, EXITED, FORKED, MOVED, apply
from ksmbench.jit import Integer, kernel
from ksmbench.trace.schema import Advice, Kind

_HERE, _THERE = np.int64(0), np.int64(1)  # columns of PAIRS
_STOPPED, _RUNNING = np.int64(1), np.int64(0)


@part
def _serve_merge_pid(m: Vector) -> None:
    # The setting merge_pid, as soon as the space lives.
    if m[MERGE_PID] >= 0:
        mm = i64(m, SPACE_MM)[m[MERGE_PID]]
        if u8(m, ALIVE)[mm]:
            u8(m, MERGE_ALL)[mm] = 1
            list_mm(m, mm)
            m[MERGE_PID] = -1


@part
def _release_all(m: Vector) -> None:
    # A store of 0 to run: whatever was merged is thrown away.
    place = i32(m, PLACE_NEXT)[HEAD]
    while place != HEAD:
        following = i32(m, PLACE_NEXT)[place]
        mm = i32(m, PLACE_MM)[place]
        if u8(m, SLOT)[mm]:
            release(m, mm, _STOPPED)
        place = following
    drop_unstable_tree(m)
    go_to(m, HEAD)


@part
def _begin_pass(m: Vector) -> None:
    place = i32(m, PLACE_NEXT)[HEAD]
    while place != HEAD:
        following = i32(m, PLACE_NEXT)[place]
        mm = i32(m, PLACE_MM)[place]
        if u8(m, SLOT)[mm]:
            if u8(m, TOUCHED)[mm]:
                u8(m, TOUCHED)[mm] = 0
            else:
                release(m, mm, _RUNNING)
        place = following
    drop_unstable_tree(m)
    go_to(m, i32(m, PLACE_NEXT)[HEAD])


@part
def _select(m: Vector, mm: Integer) -> Integer:
    # At the beginning of `mm`: whether its addresses are scanned; -1 where the batch ends.
    if not u8(m, ALIVE)[mm]:
        m[Counter.STEPS_DEAD] += 1
        return 0
    if not u8(m, FLAGGED)[mm] and not u8(m, MERGE_ALL)[mm]:
        m[Counter.STEPS_IDLE] += 1
        return 0
    fresh = not u8(m, SLOT)[mm]
    if fresh:
        make_slot(m, mm)
    u8(m, TOUCHED)[mm] = 1
    if i64(m, MERGEABLE_ENTRIES)[mm] == 0 and not (u8(m, MERGE_ALL)[mm] and _has_private(m, mm)):
        u8(m, FLAGGED)[mm] = 0
        m[Counter.STEPS_IDLE] += 1
        return -1 if fresh else 0
    return 1


@part
def _has_private(m: Vector, mm: Integer) -> Integer:
    for e in range(i64(m, BASE)[mm], i64(m, END)[mm]):
        if u8(m, FLAGS)[e] & MAPPED:
            return True
    return False


@part
def _batch(m: Vector) -> None:
    budget = m[PAGES_TO_SCAN]
    while budget > 0:
        if m[CURSOR] == HEAD:
            _begin_pass(m)
            if is_empty(m):
                return
        mm = i32(m, PLACE_MM)[m[CURSOR]]
        ends = False
        if not m[SELECTED]:
            m[SELECTED] = _select(m, mm)
            if m[SELECTED] < 0:
                ends = True
                m[SELECTED] = 0
        if m[SELECTED]:
            budget = scan_place(m, mm, budget)
            if budget == 0:
                return
        go_to(m, i32(m, PLACE_NEXT)[m[CURSOR]])
        if m[CURSOR] == HEAD:
            m[Counter.FULL_SCANS] += 1
            return
        if ends:
            return


@part
def _moved(m: Vector, mm: Integer, i: Integer) -> None:
    if m[CALLBACKS] & MUNMAP:
        free_items(m, mm, i64(m, TARGET_FIRST)[i], i64(m, TARGET_LAST)[i])
    if m[CALLBACKS] & MREMAP:
        mremap_callback(m, mm, i)
    if m[CALLBACKS] & MUNMAP:
        free_items(m, mm, i64(m, FIRST)[i], i64(m, LAST)[i])
    lose_pairs(m, i, _THERE, BY_MOVE)


@part
def _gone(m: Vector, mm: Integer) -> None:
    # Its process exited or execs something else.
    if u8(m, HELD)[mm]:
        i64(m, EXIT_NS)[mm] = m[NOW]
        return
    leave_family(m, mm)
    free_all_items(m, mm)
    u8(m, SLOT)[mm] = 0
    if u8(m, LISTED)[mm + 1]:
        retire(m, mm + 1)


@part
def _any_mergeable(m: Vector, first: Integer, last: Integer) -> Integer:
    for e in range(first, last):
        if u8(m, FLAGS)[e] & MERGEABLE:
            return True
    return False


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
        join_family(m, value, mm)
        u8(m, FLAGGED)[value] = u8(m, FLAGGED)[mm]
        if m[CALLBACKS] & FORK:
            fork_callback(m, i, value)
        if u8(m, ASKS)[value] and i64(m, MERGEABLE_ENTRIES)[value] > 0:
            ask(m, value)
        lose_pairs(m, i, _THERE, BY_FORK)
    elif told & (EXITED | EXECED):
        if told & EXECED:
            i64(m, SPACE_MM)[i32(m, SPACE)[mm]] = value
        _gone(m, mm)
    elif told & MOVED:
        _moved(m, mm, i)
    elif kind == Kind.SHARE:
        lose_pairs(m, i, _HERE, BY_FORK)
    elif told & ASKED or (kind == Kind.MADVISE and value == Advice.MERGEABLE and _any_mergeable(m, first, last)):
        ask(m, mm)
    if m[CALLBACKS] & MUNMAP:
        if kind == Kind.UNMAP or kind == Kind.MAP or (kind == Kind.MADVISE and value == Advice.DONTNEED):
            free_items(m, mm, first, last)


@part
def _store_pid(m: Vector, setting: Integer, value: Integer) -> Integer:
    if not 0 <= value < len(i64(m, SPACE_MM)):
        return False
    mm = i64(m, SPACE_MM)[value]
    if not u8(m, ALIVE)[mm]:
        return False
    if setting == UNMERGE_PID_STORE:
        had = u8(m, MERGE_ALL)[mm] != 0
        u8(m, MERGE_ALL)[mm] = 0
        return had
    u8(m, MERGE_ALL)[mm] = 1
    list_mm(m, mm)
    return True


@part
def _store(m: Vector, setting: Integer, value: Integer) -> None:
    if setting == RUN:
        ok = 0 <= value <= 1
        if ok and value != m[RUN]:
            m[RUN] = value
            if value == 0:
                _release_all(m)
    elif setting == MERGE_PID_STORE or setting == UNMERGE_PID_STORE:
        ok = _store_pid(m, setting, value)
    else:
        ok = store_number(m, setting, value)
    if not ok:
        m[REFUSED] += 1


@kernel
def loop_rfc(vector: Vector) -> Integer:
    """Go on with the replay until Python has to act."""
    m = pinned(vector)
    _serve_merge_pid(m)
    while True:
        todo = next_action(m, m[RUN] == 1 and not is_empty(m))
        if todo == DO_EVENT:
            _event(m, m[EVENT] - 1)
            _serve_merge_pid(m)
        elif todo == DO_BATCH:
            _batch(m)
            if finish_batch(m):
                return DONE
        else:
            return todo - STOP


DESIGN = Design(
    name="madvise-rfc-2009",
    summary="MADV_SHAREABLE on the global mmlist with a reference on every mm; callbacks only as set",
    source='Izik Eidus, "[PATCH 0/4] RFC - ksm api change into madvise", 14 May 2009',
    family=OF_2009,
    settings=(
        Setting("run", 1, 0, 1, "0 stops ksmd and unshares everything that it merged, 1 runs it"),
        *COMMON_SETTINGS,
        SLEEP_SETTING,
        wrprotect_setting("rmap"),
        Setting.of_words("callbacks", "none", CALLBACK_WORDS, "hooks that mm calls, beyond the RFC's own", many=True),
        Setting("merge_pid", -1, -1, (1 << 31) - 1, "a space to merge though it never asked, by its row in the trace"),
    ),
    bytes_per_entry=BYTES_PER_ENTRY,
    counters=COUNTERS,
    run=bind(
        Parts(
            loop=loop_rfc,
            name="madvise_rfc.loop_rfc",
            scalars={WAITS: 1, BILLS_ABSENT: 1, UNMERGE_KEEPS_MERGED: 1},
            merge_pid=True,
        )
    ),
)
