"""What each verb does to memory without any design, in compiled code (see `ksmbench.trace.walk`)."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ksmbench.jit import Integer, kernel
from ksmbench.trace.schema import HUGE_PAGES, Advice, Kind, Mapping

# flags of an entry
PRIVATE = 1  # in a private mapping, whose pages can be anonymous
FILE = 2  # that mapping is of a file
NEVER = 4  # in a mapping that never merges: shared, device, hugetlb
MERGEABLE = 8
DONTFORK = 16
WIPEONFORK = 32
_MAPPED = PRIVATE | NEVER

ABSENT = -1
_PAUSE_AFTER = 20_000_000  # entries looked at between two moments for Python


class Odd(IntEnum):
    """What is odd but possible: counted, and skipped."""

    WRITES_OUTSIDE = 0
    WRITES_TO_NEVER = 1
    UNMAPS_OF_NOTHING = 2
    ADVICE_ON_NOTHING = 3
    MOVES_OF_NOTHING = 4
    MOVES_ONTO_THEMSELVES = 5
    READS_OF_NOTHING = 6
    READS_OF_FILES = 7
    SHARES_OF_NOTHING = 8
    SWAPOUTS_OF_NOTHING = 9
    MIGRATIONS_OF_NOTHING = 10
    ADVICE_WITHOUT_EFFECT = 11
    HUGE_OUTSIDE = 12


class State(NamedTuple):
    """Memory at an instant."""

    frame: npt.NDArray[np.int32]  # [n_entries] what the entry maps, or ABSENT
    flags: npt.NDArray[np.uint8]  # [n_entries]
    content: npt.NDArray[np.int32]  # [n_frames]
    mapcount: npt.NDArray[np.int32]  # [n_frames]
    free: npt.NDArray[np.int32]  # [n_frames] stack of free frames
    scalars: npt.NDArray[np.int64]  # height of that stack
    merge_any: npt.NDArray[np.uint8]  # [n_spaces] PR_SET_MEMORY_MERGE
    alive: npt.NDArray[np.uint8]  # [n_spaces]
    odd: npt.NDArray[np.int64]  # [Odd] events


class Script(NamedTuple):
    """The events with their ranges as entries of all spaces together; one element per event."""

    kind: npt.NDArray[np.uint8]
    space: npt.NDArray[np.int32]
    value: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    target_first: npt.NDArray[np.int64]
    target_last: npt.NDArray[np.int64]
    pair_first: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]
    gap_first: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]  # [n_spaces + 1] first entry of each space


@kernel
def _drop(s: State, e: Integer) -> None:
    f = s.frame[e]
    if f != ABSENT:
        s.frame[e] = ABSENT
        s.mapcount[f] -= 1
        if s.mapcount[f] == 0:
            s.free[s.scalars[0]] = f
            s.scalars[0] += 1


@kernel
def _put(s: State, e: Integer, content: Integer) -> None:
    # A write: in place where the frame is its own, else into a new one.
    f = s.frame[e]
    if f == ABSENT or s.mapcount[f] > 1:
        _drop(s, e)
        s.scalars[0] -= 1
        f = s.free[s.scalars[0]]
        s.frame[e] = f
        s.mapcount[f] = 1
    s.content[f] = content


@kernel
def _link(s: State, e: Integer, f: Integer) -> None:
    s.frame[e] = f
    s.mapcount[f] += 1


@kernel
def _any(s: State, first: Integer, last: Integer, flags: Integer) -> bool:
    for e in range(first, last):
        if s.flags[e] & flags:
            return True
    return False


@kernel
def _present(s: State, first: Integer, last: Integer) -> bool:
    for e in range(first, last):
        if s.frame[e] != ABSENT:
            return True
    return False


@kernel
def _wipe(s: State, first: Integer, last: Integer) -> None:
    for e in range(first, last):
        _drop(s, e)
        s.flags[e] = 0


@kernel
def _fill(s: State, first: Integer, last: Integer, content: Integer) -> None:
    # A content below 0 is what the page holds already, or zeroes.
    outside, never = False, False
    for e in range(first, last):
        if s.flags[e] & PRIVATE:
            f = s.frame[e]
            if content >= 0:
                _put(s, e, content)
            else:
                _put(s, e, s.content[f] if f != ABSENT else 0)
        elif s.flags[e] & NEVER:
            never = True
        else:
            outside = True
    s.odd[Odd.WRITES_OUTSIDE] += outside
    s.odd[Odd.WRITES_TO_NEVER] += never


@kernel
def _huge(s: State, first: Integer, last: Integer) -> None:
    # A block of which a part cannot be anonymous gets no huge frame. Every page of the range has an entry.
    for start in range(first, last, HUGE_PAGES):
        whole = True
        for e in range(start, start + HUGE_PAGES):
            whole = whole and s.flags[e] & (PRIVATE | FILE) == PRIVATE  # files have no huge frames
        if whole:
            _fill(s, start, start + HUGE_PAGES, -1)
        else:
            s.odd[Odd.HUGE_OUTSIDE] += 1


@kernel
def _map(s: State, first: Integer, last: Integer, mapping: Integer, merge_any: Integer) -> None:
    flags = NEVER
    if mapping != Mapping.NEVER:
        flags = PRIVATE
        if mapping == Mapping.FILE:
            flags |= FILE
        if merge_any:
            flags |= MERGEABLE
    for e in range(first, last):
        _drop(s, e)
        s.flags[e] = flags


@kernel
def _set(s: State, first: Integer, last: Integer, flag: Integer, on: Integer, needed: Integer) -> None:
    for e in range(first, last):
        if s.flags[e] & needed:
            if on:
                s.flags[e] |= flag
            else:
                s.flags[e] &= ~flag & 0xFF


@kernel
def _madvise(s: State, first: Integer, last: Integer, advice: Integer) -> None:
    if not _any(s, first, last, _MAPPED):
        s.odd[Odd.ADVICE_ON_NOTHING] += 1
    elif advice == Advice.MERGEABLE or advice == Advice.UNMERGEABLE:
        _set(s, first, last, MERGEABLE, advice == Advice.MERGEABLE, PRIVATE)
    elif advice == Advice.DONTNEED:
        for e in range(first, last):
            _drop(s, e)
    elif advice == Advice.DONTFORK or advice == Advice.DOFORK:
        _set(s, first, last, DONTFORK, advice == Advice.DONTFORK, _MAPPED)
    elif advice == Advice.WIPEONFORK or advice == Advice.KEEPONFORK:
        for e in range(first, last):
            if s.flags[e] & (PRIVATE | FILE) == PRIVATE:  # the kernel refuses it for files
                _set(s, e, e + 1, WIPEONFORK, advice == Advice.WIPEONFORK, PRIVATE)
    elif advice != Advice.HUGEPAGE and advice != Advice.NOHUGEPAGE:
        s.odd[Odd.ADVICE_WITHOUT_EFFECT] += 1


@kernel
def _move(s: State, script: Script, i: Integer) -> None:
    first, last = script.first[i], script.last[i]
    to_first, to_last = script.target_first[i], script.target_last[i]
    if not _any(s, first, last, _MAPPED):
        s.odd[Odd.MOVES_OF_NOTHING] += 1
        return
    if to_first < last and first < to_last:
        s.odd[Odd.MOVES_ONTO_THEMSELVES] += 1
        return
    _wipe(s, to_first, to_last)
    _inherit(s, script, i, False)
    _wipe(s, first, last)


@kernel
def _inherit(s: State, script: Script, i: Integer, is_fork: Integer) -> None:
    # Mappings, and what they hold, along the pairs of entries; the mapping alone where the source has no entry.
    for row in range(script.pair_first[i], script.pair_first[i + 1]):
        for k in range(script.pairs[row, 2]):
            here, there = script.pairs[row, 0] + k, script.pairs[row, 1] + k
            flags = s.flags[here]
            if is_fork and flags & DONTFORK:
                continue
            s.flags[there] = flags
            if s.frame[here] != ABSENT and not (is_fork and flags & WIPEONFORK):
                _link(s, there, s.frame[here])
    for row in range(script.gap_first[i], script.gap_first[i + 1]):
        flags = s.flags[script.gaps[row, 0]]
        if is_fork and flags & DONTFORK:
            continue
        for k in range(script.gaps[row, 2]):
            s.flags[script.gaps[row, 1] + k] = flags


@kernel
def _share(s: State, script: Script, i: Integer) -> None:
    found = False
    for row in range(script.pair_first[i], script.pair_first[i + 1]):
        for k in range(script.pairs[row, 2]):
            here, f = script.pairs[row, 0] + k, s.frame[script.pairs[row, 1] + k]
            if f != ABSENT and s.flags[here] & PRIVATE:
                found = True
                if s.frame[here] != f:
                    _drop(s, here)
                    _link(s, here, f)
    s.odd[Odd.SHARES_OF_NOTHING] += not found


@kernel
def _read(s: State, first: Integer, last: Integer) -> None:
    if not _any(s, first, last, _MAPPED):
        s.odd[Odd.READS_OF_NOTHING] += 1
    elif _any(s, first, last, FILE):
        s.odd[Odd.READS_OF_FILES] += 1


@kernel
def _act(s: State, script: Script, i: Integer) -> None:
    # The verbs about a whole space.
    kind, space, value = script.kind[i], script.space[i], script.value[i]
    begin, end = script.begin[space], script.begin[space + 1]
    if kind == Kind.FORK:
        s.alive[value] = 1
        s.merge_any[value] = s.merge_any[space]
        _inherit(s, script, i, True)
    elif kind == Kind.PRCTL:
        if (value != 0) != (s.merge_any[space] != 0):  # what it is already changes nothing
            _set(s, begin, end, MERGEABLE, value, PRIVATE)
        s.merge_any[space] = value
    elif kind == Kind.EXEC or kind == Kind.EXIT:
        _wipe(s, begin, end)
        if kind == Kind.EXIT:
            s.alive[space] = 0


@kernel
def _apply(s: State, script: Script, i: Integer) -> None:
    kind, value = script.kind[i], script.value[i]
    first, last = script.first[i], script.last[i]
    if kind == Kind.WRITE:
        _fill(s, first, last, value)
    elif kind == Kind.TOUCH:
        _fill(s, first, last, -1)
    elif kind == Kind.HUGE:
        _huge(s, first, last)
    elif kind == Kind.MAP:
        _map(s, first, last, value, s.merge_any[script.space[i]])
    elif kind == Kind.UNMAP:
        s.odd[Odd.UNMAPS_OF_NOTHING] += not _any(s, first, last, _MAPPED)
        _wipe(s, first, last)
    elif kind == Kind.MADVISE:
        _madvise(s, first, last, value)
    elif kind == Kind.MOVE:
        _move(s, script, i)
    elif kind == Kind.SHARE:
        _share(s, script, i)
    elif kind == Kind.READ:
        _read(s, first, last)
    elif kind == Kind.SWAPOUT:
        s.odd[Odd.SWAPOUTS_OF_NOTHING] += not _present(s, first, last)
        for e in range(first, last):
            _drop(s, e)
    elif kind == Kind.MIGRATE:
        s.odd[Odd.MIGRATIONS_OF_NOTHING] += not _present(s, first, last)
    else:
        _act(s, script, i)


@kernel
def play(s: State, script: Script, start: Integer, stop: Integer) -> Integer:
    """Apply the events from `start` on, at most to `stop`; returns where it paused. Writes: `s`."""
    work = 0
    for i in range(start, stop):
        if work > _PAUSE_AFTER:
            return i
        if script.kind[i] == Kind.PRCTL:
            work += script.begin[script.space[i] + 1] - script.begin[script.space[i]]
        work += 1 + script.last[i] - script.first[i]
        if script.kind[i] != Kind.TUNE and script.kind[i] != Kind.MARK:
            _apply(s, script, i)
    return stop
