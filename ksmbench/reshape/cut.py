"""A window of a trace's time, and some of its spaces, as a trace of its own.

Replayed by `none`, the cut holds at every moment the frames that the whole has then, shared in the same way. Merging
begins anew: what a design had merged before the window it has to find again.
"""

import fnmatch
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.engine.plan import MAX_MEMORY
from ksmbench.errors import UsageError
from ksmbench.reshape.contents import keep_contents, renumbered, used_contents
from ksmbench.reshape.memory import Memory
from ksmbench.reshape.spelling import Speller
from ksmbench.trace.columns import Events, Space, Trace
from ksmbench.trace.rows import Rows
from ksmbench.trace.schema import SPACE_VALUE_KINDS, Advice, Kind

BEGINS, ENDS = "cut begins", "cut ends"
_STEPS = 50
_FAR_S = 9e9  # more than a trace's clock holds
_HELPER = "helper of ksmbench cut"
_KEPT_OF_CAPTURE = ("tool", "interval_ns", "tracked", "not_tracked", "reader", "consistency", "changes_seen_by")
_BEFORE_THE_WINDOW = (
    "of the time before the window: pages that were only read (the zero page is mapped there, which no design tells "
    "from absent pages), and what was merged then"
)

Progress = Callable[[float], None]  # told the part that is done, from 0 to 1


@dataclass(frozen=True)
class Cut:
    """The new trace; `used` are the contents of the old one that it has, `spaces` the old numbers of its spaces."""

    trace: Trace
    used: npt.NDArray[np.int64]
    spaces: tuple[int, ...]
    small_parts: int  # pages that were parts of huge frames and are on small ones now


def _chosen(trace: Trace, patterns: Sequence[str]) -> list[int]:
    if not patterns:
        return list(range(len(trace.spaces)))
    chosen = set()
    for pattern in patterns:
        found = [i for i, space in enumerate(trace.spaces) if fnmatch.fnmatchcase(space.name, pattern)]
        if not found and pattern.isdecimal() and int(pattern) < len(trace.spaces):
            found = [int(pattern)]
        if not found:
            names = ", ".join(sorted({space.name for space in trace.spaces})[:8])
            raise UsageError(f"--spaces {pattern}: no space has such a name or number; there are {names}")
        chosen.update(found)
    return sorted(chosen)


def _window(trace: Trace, from_s: float | None, until_s: float | None) -> tuple[int, int]:
    # In ns of the trace.
    times = trace.events.time_ns
    if not len(times):
        raise UsageError("the trace has no events, so there is nothing to cut")
    first, last = int(times[0]), int(times[-1])
    for name, seconds in (("--from", from_s), ("--until", until_s)):
        if seconds is not None and not abs(seconds) < _FAR_S:
            raise UsageError(f"{name} {seconds:g}: must be a number of seconds of trace time")
    begin = first if from_s is None else round(from_s * 1e9)
    end = last if until_s is None else round(until_s * 1e9)
    if begin < 0:
        raise UsageError(f"--from {from_s:g}: must be 0 or more seconds of trace time")
    if begin > last:
        raise UsageError(f"--from {from_s:g}: the trace ends at {last / 1e9:g} s")
    if end < first:
        raise UsageError(f"--until {until_s:g}: the trace begins at {first / 1e9:g} s")
    if end < begin:
        raise UsageError(f"--until {end / 1e9:g} comes before --from {begin / 1e9:g}")
    return max(begin, first), min(end, last)


def _by_asking(events: Events, spaces: Sequence[int], start: int) -> list[int]:
    # In the order in which they asked to be merged, which is that of ksmd's list.
    kind, value = events.kind[:start], events.value[:start]
    asks = ((kind == Kind.MADVISE) & (value == Advice.MERGEABLE)) | ((kind == Kind.PRCTL) & (value == 1))
    born = kind == Kind.FORK
    who = np.concatenate([events.space[:start][asks], value[born]])
    when = np.concatenate([np.flatnonzero(asks), np.flatnonzero(born)])
    first: dict[int, int] = {}
    for row, space in sorted(zip(when.tolist(), who.tolist(), strict=True)):
        first.setdefault(space, row)
    return sorted(spaces, key=lambda space: (first.get(space, start), space))


class _Cutter:
    def __init__(self, trace: Trace, kept: Sequence[int], memory: Memory, begin_ns: int) -> None:
        self.events = trace.events
        self.memory = memory
        self.begin_ns = begin_ns
        self.ids = {space: number for number, space in enumerate(kept)}
        self.rows = Rows(trace.names)
        self.speller = Speller(memory, trace.events, self.rows, self.ids)
        self.number = np.full(len(trace.spaces), -1, np.int64)
        self.number[list(kept)] = np.arange(len(kept))

    def settings(self, start: int) -> None:
        """The stores to KSM's files before the window, as it is the design that knows which of them take effect."""
        tunes = np.flatnonzero(self.events.kind[:start] == Kind.TUNE)
        last: dict[int, int] = {}
        for row in tunes.tolist():
            name, value = int(self.events.name[row]), int(self.events.value[row])
            if last.get(name) != value:
                self.rows.add(0, Kind.TUNE, 0, value=value, name=name)
            last[name] = value

    def copy(self, start: int, stop: int) -> None:
        """The events of the kept spaces as they are."""
        events, part = self.events, slice(start, stop)
        kind, value = events.kind[part], events.value[part]
        whole = np.isin(kind, (Kind.TUNE, Kind.MARK))
        space = self.number[events.space[part]]
        with_other = np.isin(kind, sorted(SPACE_VALUE_KINDS))
        other = self.number[np.where(with_other, value, 0)]
        chosen = whole | ((space >= 0) & ~(with_other & (other < 0)))
        value = np.where(with_other, other, value)
        self.rows.add(
            events.time_ns[part][chosen] - self.begin_ns,
            kind[chosen],
            np.maximum(space, 0)[chosen],
            events.page[part][chosen],
            events.n_pages[part][chosen],
            value[chosen],
            events.node[part][chosen],
            events.name[part][chosen],
        )

    def from_outside(self, row: int) -> None:
        """A kept space is forked from one that is left out, or gets frames of one: what that gave it."""
        memory, speller = self.memory, self.speller
        time_ns = int(self.events.time_ns[row]) - self.begin_ns
        is_fork = self.events.kind[row] == Kind.FORK
        space = int(self.events.value[row] if is_fork else self.events.space[row])
        memory.play(row)
        here = memory.entries(space)
        before = memory.frame[here].copy()
        memory.play(row + 1)
        changed = here.start + np.flatnonzero(memory.frame[here] != before)
        speller.forget()
        for other in self.ids:
            if memory.is_alive(other) and not (is_fork and other == space):
                speller.know(other, changed if other == space else None)
        if is_fork:
            speller.space(space, time_ns)
        else:
            speller.pages(space, changed, time_ns)

    def play(self, start: int, stop: int, progress: Progress | None) -> None:
        """The window."""
        events = self.events
        kind, value = events.kind[start:stop], events.value[start:stop]
        handing = np.isin(kind, sorted(SPACE_VALUE_KINDS))
        actor = self.number[events.space[start:stop]]
        other = self.number[np.where(handing, value, 0)]
        receives = np.where(kind == Kind.FORK, other, actor) >= 0
        gives = np.where(kind == Kind.FORK, actor, other) >= 0
        at = start
        for row in (start + np.flatnonzero(handing & receives & ~gives)).tolist():
            self.copy(at, row)
            self.from_outside(row)
            at = row + 1
            if progress is not None:
                progress(row / max(1, stop))
        self.copy(at, stop)


def _kept(trace: Trace, chosen: Sequence[int], memory: Memory, stop: int) -> list[int]:
    # Those that live at some moment of the window.
    events, row = trace.events, memory.row
    births = events.value[row:stop][events.kind[row:stop] == Kind.FORK]
    born = set(births.tolist())
    kept = [space for space in chosen if memory.is_alive(space) or space in born]
    if not kept:
        raise UsageError("none of the spaces lives in that time; choose another window or other spaces")
    return kept


def cut(
    trace: Trace,
    *,
    from_s: float | None = None,
    until_s: float | None = None,
    spaces: Sequence[str] = (),
    label: str = "",
    max_memory: int = MAX_MEMORY,
    progress: Progress | None = None,
) -> Cut:
    """Cut `trace` to the time `from_s` .. `until_s` (seconds of the trace, its ends included) and to `spaces`.

    `spaces` are patterns of names, or numbers. The new trace's clock begins at `from_s`. Events at `from_s` are the
    window's first, so the state that it begins with is the one before them. Raises `UsageError` for a window or a
    pattern that holds nothing, `TraceError` where the trace needs more than `max_memory` bytes.
    """
    begin_ns, end_ns = _window(trace, from_s, until_s)
    chosen = _chosen(trace, spaces)
    start, stop = np.searchsorted(trace.events.time_ns, (begin_ns, end_ns + 1)).tolist()
    memory = Memory(trace, max_memory)
    for step in range(1, _STEPS + 1):
        memory.play(start * step // _STEPS)
        if progress is not None:
            progress(memory.row / stop)
    kept = _kept(trace, chosen, memory, stop)
    cutter = _Cutter(trace, kept, memory, begin_ns)
    cutter.settings(start)
    for space in _by_asking(trace.events, [s for s in kept if memory.is_alive(s)], start):
        cutter.speller.space(space, 0)
    rows, speller = cutter.rows, cutter.speller
    rows.add(0, Kind.MARK, 0, name=rows.number(BEGINS))
    cutter.play(start, stop, progress)
    rows.add(end_ns - begin_ns, Kind.MARK, 0, name=rows.number(ENDS))
    named = [trace.spaces[space] for space in kept]
    if speller.uses_helper:
        rows.add(end_ns - begin_ns, Kind.EXIT, len(kept))
        named.append(Space(None, _HELPER, "process"))
    events = rows.events()
    used = used_contents(events)
    made = Trace(
        _manifest(trace, begin_ns, end_ns, kept, spaces, speller.small_parts, label),
        tuple(named),
        renumbered(events, used),
        keep_contents(trace.contents, used),
        tuple(rows.names),
        fingerprint=None if trace.fingerprint is None else trace.fingerprint[used],
    )
    return Cut(_without_unused_names(made), used, tuple(kept), speller.small_parts)


def _without_unused_names(trace: Trace) -> Trace:
    used = np.unique(trace.events.name[trace.events.name >= 0])
    name = np.where(trace.events.name < 0, -1, np.searchsorted(used, trace.events.name)).astype(np.int32)
    names = tuple(trace.names[i] for i in used.tolist())
    return replace(trace, events=trace.events._replace(name=name), names=names)


def _manifest(
    trace: Trace, begin_ns: int, end_ns: int, kept: Sequence[int], patterns: Sequence[str], small: int, label: str
) -> dict[str, Any]:
    old = trace.manifest
    capture = old.get("capture") or {}
    of = {"label": old.get("label"), "trace_id": old.get("trace_id"), "created": old.get("created")}
    facts: dict[str, Any] = {
        "of": {key: value for key, value in of.items() if value},
        "from_ns": begin_ns,
        "until_ns": end_ns,
        "spaces": [f"{space} {trace.spaces[space].name}" for space in kept] if patterns else "all that live in it",
        "not_kept": _BEFORE_THE_WINDOW,
    }
    if small:
        facts["parts_of_huge_frames_made_small"] = small
    if len(kept) < len(trace.spaces):
        facts["note"] = "frames that left-out spaces had in common with the others belong to the others alone"
    manifest = {key: value for key, value in old.items() if key not in ("capture", "trace_id", "label")}
    manifest["trace_id"] = uuid.uuid4().hex
    manifest["label"] = label or f"{old.get('label') or 'trace'}, cut"
    if capture:
        manifest["capture"] = {key: capture[key] for key in _KEPT_OF_CAPTURE if key in capture}
    manifest["cut"] = facts
    return manifest
