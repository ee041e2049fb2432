"""Who shares what when a replay ends, how long sharing lasts, and what it would take to lose it.

Read from the page tables of a design's last state with numpy, and from looks at a part of them in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ksmbench.engine.machine import (
    BASE,
    CONTENT,
    END,
    FLAGS,
    FRAME,
    KIND,
    NODE,
    NOW,
    PAIR_FIRST,
    PAIRS,
    SPACE,
    Machine,
)
from ksmbench.engine.machine import FIRST as FIRST_ENTRY
from ksmbench.engine.machine import LAST as LAST_ENTRY
from ksmbench.engine.memory import KSM_ZERO, MERGEABLE, ORDINARY, ZEROED
from ksmbench.engine.plan import Plan
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind

MAX_SPACES = 16  # shown one by one: those that share most; the others together
OTHERS = "others"  # how these are called
MAX_MAPPINGS = 20
MAX_LOOKS = 24
LEAST_LOOKS = 6
LEAST_PAIRS = 3  # of looks, that a time apart is told from
MAX_WATCHED = 200_000  # entries, for how long sharing lasts
MAX_WRITERS = 32
_CHUNK = 100_000  # frames

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Yield:
    """What became of the pages of all mappings with one name."""

    name: str
    mergeable: int  # pages present in mergeable mappings
    merged: int  # of these, that map a merged frame or the zero page in place of one


@dataclass(frozen=True)
class Potential:
    """What could be saved in the end, in pages, by merging all that is mergeable at once."""

    possible: int = 0
    opting_out: list[tuple[str, int]] = field(default_factory=list)  # what less, if that space were not mergeable
    domains: list[tuple[str, int]] = field(default_factory=list)  # what each saves alone; none where there are no two

    @property
    def lost_to_domains(self) -> int | None:
        """What merging within domains only would lose of what is possible."""
        return self.possible - sum(saved for _, saved in self.domains) if self.domains else None


@dataclass(frozen=True)
class Sharing:
    """Pages, unless said otherwise."""

    spaces: list[str]  # of `matrix`
    matrix: list[list[int]]  # entries of the row's space whose merged frame the column's maps too; diagonal: its own
    mappings: list[Yield]
    lost_to_max_page_sharing: int  # merged frames beyond one for each content
    cliff: list[int]  # frames more, if the k busiest writers rewrote all that they share; from k = 0 on
    writers: list[str]  # in that order
    lifetimes: list[tuple[float, float]] = field(default_factory=list)  # seconds, share of sharing that lasts so long
    potential: Potential = field(default_factory=Potential)


class Watch:
    """Looks at a part of the page tables now and then, for how long sharing lasts."""

    def __init__(self, n_entries: int, n_samples: int) -> None:
        self._every = max(1, n_samples // MAX_LOOKS)
        self._entries = np.unique(np.linspace(0, max(0, n_entries - 1), min(n_entries, MAX_WATCHED)).astype(np.int64))
        self._seen = 0
        self._looks: list[tuple[int, Ints]] = []

    def look(self, machine: Machine) -> None:
        """Called at every sample."""
        self._seen += 1
        if self._seen % self._every == 0:
            frame = machine[FRAME][self._entries]
            self._looks.append((int(machine.m[NOW]), np.where(_merged(machine, frame), frame, -1).astype(np.int64)))

    def lifetimes(self) -> list[tuple[float, float]]:
        """How much of what is shared at a look is shared still, so many seconds later: (seconds, share)."""
        found = []
        for lag in range(1, len(self._looks) - LEAST_PAIRS + 1):
            then = [self._looks[i] for i in range(len(self._looks) - lag)]
            later = self._looks[lag:]
            shared = sum(int((frames >= 0).sum()) for _, frames in then)
            still = sum(int(((old >= 0) & (old == new)).sum()) for (_, old), (_, new) in zip(then, later, strict=True))
            seconds = np.mean([(b - a) / 1e9 for (a, _), (b, _) in zip(then, later, strict=True)])
            if shared:
                found.append((float(seconds), still / shared))
        return found


def _merged(machine: Machine, frame: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    node = machine[NODE][np.maximum(frame, 0)]
    merged: npt.NDArray[np.bool_] = (frame >= 0) & (node != ORDINARY) & (node != ZEROED)
    return merged


def _spaces_of_entries(machine: Machine, n_entries: int) -> Ints:
    space = np.full(n_entries, -1, np.int64)
    for mm, (first, last) in enumerate(zip(machine[BASE].tolist(), machine[END].tolist(), strict=True)):
        space[first:last] = machine[SPACE][mm]
    return space


def _names_of_entries(trace: Trace, plan: Plan) -> Ints:
    # The row of the trace's names that the mapping of each entry has, -1 for none; forks hand them on.
    columns = plan.columns
    kinds = columns[KIND]
    names = np.full(plan.n_entries, -1, np.int64)
    pairs = columns[PAIRS].reshape(-1, 3)
    for i in np.flatnonzero(np.isin(kinds, (Kind.MAP, Kind.FORK, Kind.MOVE))).tolist():
        if kinds[i] == Kind.MAP:
            names[columns[FIRST_ENTRY][i] : columns[LAST_ENTRY][i]] = trace.events.name[i]
            continue
        for here, there, count in pairs[columns[PAIR_FIRST][i] : columns[PAIR_FIRST][i + 1]].tolist():
            names[there : there + count] = names[here : here + count]
    return names


def _matrix(frame: Ints, space: Ints, n_spaces: int) -> tuple[list[int], Ints]:
    # The spaces that share most, and what each of them shares with each; the last row and column are all others.
    shown = np.argsort(-np.bincount(space, minlength=n_spaces), kind="stable")[:MAX_SPACES]
    place = np.full(n_spaces, len(shown), np.int64)
    place[shown] = np.arange(len(shown))
    n = len(shown) + (1 if n_spaces > len(shown) else 0)
    result = np.zeros((n, n), np.int64)
    order = np.argsort(frame, kind="stable")
    frames, numbers = np.unique(frame[order], return_inverse=True)
    of_place = place[space[order]]
    for start in range(0, len(frames), _CHUNK):
        part = (numbers >= start) & (numbers < start + _CHUNK)
        counts = np.zeros((min(_CHUNK, len(frames) - start), n), np.int64)
        np.add.at(counts, (numbers[part] - start, of_place[part]), 1)
        result += counts.T @ (counts > 0).astype(np.int64)
        own = np.where(counts > 1, counts, 0).sum(axis=0)
        result[np.arange(n), np.arange(n)] += own - counts.sum(axis=0)
    return shown.tolist(), result


def _savable(content: Ints) -> int:
    # What merging entries of these contents at once saves: one frame for each content, none for zero pages.
    return len(content) - int(np.count_nonzero(np.unique(content)))


def _opting_out(content: Ints, space: Ints, names: list[str], possible: int) -> list[tuple[str, int]]:
    # A content that only one space holds is lost with it; one that others hold too costs just that space's entries.
    lost = []
    for number in np.unique(space).tolist():
        rest = space != number
        lost.append((names[number], possible - _savable(content[rest])))
    return sorted(lost, key=lambda pair: -pair[1])


def _cliff(frame: Ints, space: Ints, order: list[int]) -> list[int]:
    # Every entry of a writer gets a frame of its own; a frame is free once all that map it have been rewritten.
    rank = np.full(int(space.max(initial=-1)) + 1, len(order), np.int64)
    rank[[number for number in order if number < len(rank)]] = [i for i, n in enumerate(order) if n < len(rank)]
    of_entry = rank[space] if len(space) else space
    more = np.bincount(of_entry, minlength=len(order) + 1)[: len(order)]
    frames, numbers = np.unique(frame, return_inverse=True)
    last = np.zeros(len(frames), np.int64)
    np.maximum.at(last, numbers, of_entry)
    freed = np.bincount(last[frames >= 0], minlength=len(order) + 1)[: len(order)]
    return [0, *np.cumsum(more - freed).tolist()]


def _busiest(trace: Trace) -> list[int]:
    # Spaces by the pages that they wrote after the trace's first moment.
    events = trace.events
    later = np.isin(events.kind, (Kind.WRITE, Kind.TOUCH)) & (events.time_ns > events.time_ns[:1])
    pages = np.bincount(events.space[later], weights=events.n_pages[later], minlength=len(trace.spaces))
    return [int(number) for number in np.argsort(-pages, kind="stable")[:MAX_WRITERS]]


def domains_of(trace: Trace, given: Mapping[str, str] | None = None) -> list[str | None]:
    """The domain of each space: as `given` by patterns of space names, else as the trace says."""
    import fnmatch

    found: list[str | None] = []
    for space in trace.spaces:
        matching = [name for name, pattern in (given or {}).items() if fnmatch.fnmatchcase(space.name, pattern)]
        found.append(matching[0] if matching else space.domain)
    return found


def unique_names(trace: Trace) -> list[str]:
    """Names of spaces, with the number where several are called alike."""
    names = [space.name for space in trace.spaces]
    return [f"{name} #{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def potential(trace: Trace, plan: Plan, machine: Machine, domains: Mapping[str, str] | None = None) -> Potential:
    """Read what could be saved from memory that nobody merged: the last state of `none`."""
    frame = machine[FRAME].astype(np.int64)
    space = _spaces_of_entries(machine, len(frame))
    mergeable = (frame >= 0) & (space >= 0) & ((machine[FLAGS] & MERGEABLE) != 0)
    # What a fork left on one frame is one page, of whoever of them comes first.
    frames, once = np.unique(frame[mergeable], return_index=True)
    held, owner = machine[CONTENT][frames].astype(np.int64), space[mergeable][once]
    possible = _savable(held)
    of_domain = domains_of(trace, domains)
    known = list(dict.fromkeys(name for name in of_domain if name is not None))
    by_domain = []
    if len(known) > 1:
        numbers = np.array([-1 if name is None else known.index(name) for name in of_domain])
        by_domain = [(name, _savable(held[numbers[owner] == i])) for i, name in enumerate(known)]
    return Potential(possible, _opting_out(held, owner, unique_names(trace), possible), by_domain)


def measure(trace: Trace, plan: Plan, machine: Machine, watch: Watch | None = None) -> Sharing:
    """Read the state that a replay ended with."""
    frame = machine[FRAME].astype(np.int64)
    space = _spaces_of_entries(machine, len(frame))
    merged = _merged(machine, machine[FRAME])
    shared = (merged | (frame == KSM_ZERO)) & (space >= 0)
    present = ((frame >= 0) | (frame == KSM_ZERO)) & (space >= 0)
    mergeable = present & ((machine[FLAGS] & MERGEABLE) != 0)
    labels = unique_names(trace)
    shown, matrix = _matrix(frame[merged], space[merged], len(labels))
    merged_frames = np.unique(frame[merged])
    writers = _busiest(trace)
    return Sharing(
        spaces=[labels[number] for number in shown] + ([OTHERS] if len(labels) > len(shown) else []),
        matrix=matrix.tolist(),
        mappings=_mappings(trace, plan, mergeable, shared),
        lost_to_max_page_sharing=len(merged_frames) - len(np.unique(machine[CONTENT][merged_frames])),
        cliff=_cliff(frame[shared], space[shared], writers),
        writers=[labels[number] for number in writers],
        lifetimes=watch.lifetimes() if watch else [],
    )


def _mappings(trace: Trace, plan: Plan, mergeable: npt.NDArray[np.bool_], shared: npt.NDArray[np.bool_]) -> list[Yield]:
    name = _names_of_entries(trace, plan)
    rows: list[Yield] = []
    n = len(trace.names) + 1
    all_of, merged_of = (
        np.bincount(name[mergeable] + 1, minlength=n),
        np.bincount(name[mergeable & shared] + 1, minlength=n),
    )
    for row in np.flatnonzero(all_of).tolist():
        rows.append(Yield(trace.names[row - 1] if row else "without a name", int(all_of[row]), int(merged_of[row])))
    rows.sort(key=lambda one: -one.mergeable)
    rest = rows[MAX_MAPPINGS:]
    if rest:
        total = Yield(OTHERS, sum(one.mergeable for one in rest), sum(one.merged for one in rest))
        return [*rows[:MAX_MAPPINGS], total]
    return rows
