"""A trace made ready for the engine: every page range as a range of page-table entries.

Each address space that ever lives is an *mm*: a space has one, and one more for every exec. The entries of one mm are
contiguous (`base`), in address order, and hold only pages that can ever be present (see `ksmbench.trace.universe`).
What a design may do is not decided here: one plan serves every design, any number of times.
"""

import fnmatch
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.engine import machine as at
from ksmbench.engine.memory import FOLIO_PAGES
from ksmbench.errors import TraceError, UsageError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import PAGE_LIMIT, Kind
from ksmbench.trace.universe import Universe, find_universe

# Bytes of engine state: memory (42), items (20), stable nodes (44 each, a reserve of one per entry).
BYTES_PER_ENTRY = 110
BYTES_PER_EVENT = 90
BYTES_PER_FOLIO = 2048
BYTES_PER_RUN = 100  # of pages that a fork, a move or a share hands on
BYTES_PER_CONTENT = 40
MAX_MEMORY = 8 << 30  # default of --max-memory


# A machine's columns are read without a check of their dtype: it is decided here, int64 where nothing is said.
_DTYPES: dict[int, Any] = {
    at.SPACE: np.int32,
    at.ASKS: np.uint8,
    at.ALIVE: np.uint8,
    at.MERGE_ANY: np.uint8,
    at.KIND: np.uint8,
    at.ACTOR: np.int32,
    at.ALLOCATE_ON: np.uint8,
    at.NAME: np.int32,
}


@dataclass(frozen=True)
class Plan:
    """A trace in the engine's terms: `columns` are those of `machine` from BASE to PAIRS, by number."""

    columns: dict[int, npt.NDArray[Any]]
    n_mms: int
    n_spaces: int
    n_entries: int
    n_folios: int
    needed_bytes: int  # of a replay, without its samples
    start_ns: int
    end_ns: int
    intervals: list[npt.NDArray[np.int64]]  # of each mm: [n, 2] the pages that have entries, ascending

    def pages(self) -> npt.NDArray[np.int64]:
        """The page number of every entry, int64 [n_entries]."""
        rows = np.concatenate(self.intervals) if self.intervals else np.zeros((0, 2), np.int64)
        lengths = rows[:, 1] - rows[:, 0]
        result: npt.NDArray[np.int64] = np.repeat(rows[:, 0] - (np.cumsum(lengths) - lengths), lengths)
        return result + np.arange(len(result))

    def holes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The pages without entries that follow one: its number, the first of them, the page behind the last."""
        lengths = [len(rows) for rows in self.intervals]
        rows = np.concatenate(self.intervals) if self.intervals else np.zeros((0, 2), np.int64)
        stop = np.full(len(rows), PAGE_LIMIT, np.int64)
        stop[:-1] = rows[1:, 0]
        ends = np.cumsum(lengths)[np.array(lengths, np.int64) > 0] - 1 if lengths else np.zeros(0, np.int64)
        stop[ends] = PAGE_LIMIT
        entry = np.cumsum(rows[:, 1] - rows[:, 0]) - 1
        found = stop > rows[:, 1]
        return entry[found], rows[found, 1], stop[found]

    @property
    def is_snapshot(self) -> bool:
        """Whether all events have one time."""
        return self.start_ns == self.end_ns

    def load(self, machine: "at.Machine") -> None:
        """Put the trace and the mms as it begins into `machine`."""
        for column, array in self.columns.items():
            changes = column in (at.ALIVE, at.MERGE_ANY, at.SPACE_MM)
            machine[column] = array.copy() if changes else array


def _generations(trace: Trace) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    # The mm of each event, the values with mms for spaces, and the space of each mm.
    events = trace.events
    current = np.arange(len(trace.spaces), dtype=np.int32)
    owners = list(range(len(trace.spaces)))
    mm = events.space.copy()
    value = events.value.copy()
    execs = np.flatnonzero(events.kind == Kind.EXEC)
    bounds = np.append(execs, len(mm))
    start = 0
    for stop in bounds:
        part = slice(start, int(stop) + 1)
        mm[part] = current[events.space[part]] if len(current) else 0
        others = np.isin(events.kind[part], (Kind.FORK, Kind.SHARE))
        value[part][others] = current[events.value[part][others]]
        if stop < len(mm):
            space = int(events.space[stop])
            owners.append(space)
            current[space] = len(owners) - 1
            value[stop] = len(owners) - 1
        start = int(stop) + 1
    return mm, value, np.array(owners, np.int32)


def _asking(trace: Trace, owners: npt.NDArray[np.int32], mergeable: str) -> npt.NDArray[np.uint8]:
    if mergeable == "as-is":
        return np.zeros(len(owners), np.uint8)
    pattern = "*" if mergeable == "all" else mergeable
    asks = np.array([fnmatch.fnmatchcase(space.name, pattern) for space in trace.spaces], bool)
    if len(asks) and not asks.any():
        names = ", ".join(sorted({space.name for space in trace.spaces})[:8])
        raise UsageError(f"--mergeable {mergeable}: no space has such a name; there are {names}")
    result: npt.NDArray[np.uint8] = asks[owners].astype(np.uint8)
    return result


def _placed(
    runs: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    base: npt.NDArray[np.int64],
    mm: npt.NDArray[np.int32],
    other: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    # Runs of a universe, with entries instead of offsets within the mms.
    n = np.diff(first)
    acts = np.flatnonzero(n)
    result = runs.copy()
    result[:, 0] += np.repeat(base[mm[acts]], n[acts])
    result[:, 1] += np.repeat(base[other[acts]], n[acts])
    return result


def _needed_bytes(trace: Trace, universe: Universe, n_folios: int, max_memory: int, bytes_per_entry: int) -> int:
    # What a replay holds; raises where that is too much.
    n_entries: int = sum(universe.size.tolist())  # of any size, as it is checked
    needed = (
        n_entries * bytes_per_entry
        + len(trace.events.kind) * BYTES_PER_EVENT
        + n_folios * BYTES_PER_FOLIO
        + (len(universe.pairs) + len(universe.gaps)) * BYTES_PER_RUN
        + len(trace.contents.lcp) * BYTES_PER_CONTENT
    )
    if needed > max_memory or n_entries > 1 << 30:
        raise TraceError(
            f"{trace.path or 'the trace'}: a replay needs {needed / 2**30:,.1f} GiB for {n_entries:,} pages, "
            f"more than --max-memory {max_memory / 2**30:,.1f} GiB; raise it or record less"
        )
    return needed


def make_plan(
    trace: Trace, *, mergeable: str = "as-is", max_memory: int = MAX_MEMORY, bytes_per_entry: int = BYTES_PER_ENTRY
) -> Plan:
    """Translate `trace`; raises `TraceError` where a replay would need more than `max_memory` bytes."""
    events = trace.events
    mm, value, owners = _generations(trace)
    universe = find_universe(events._replace(space=mm, value=value), len(owners))
    n_folios = sum((events.n_pages[events.kind == Kind.HUGE] // FOLIO_PAGES).tolist())
    needed = _needed_bytes(trace, universe, n_folios, max_memory, bytes_per_entry)
    base = np.cumsum(universe.size) - universe.size
    other = np.where(np.isin(events.kind, (Kind.FORK, Kind.SHARE)), value, mm)
    pairs = _placed(universe.pairs, universe.pair_first, base, mm, other)
    gaps = _placed(universe.gaps, universe.gap_first, base, mm, other)
    offset = base[mm] if len(base) else np.zeros(len(mm), np.int64)
    asks = _asking(trace, owners, mergeable)
    whole = events.kind == Kind.PRCTL  # which is about every page of its mm
    born = np.zeros(len(owners), np.uint8)
    born[: len(trace.spaces)] = 1
    born[value[events.kind == Kind.FORK]] = 0
    columns = {
        at.BASE: base,
        at.END: base + universe.size,
        at.SPACE: owners,
        at.ASKS: asks,
        at.ALIVE: born,
        at.MERGE_ANY: (born & asks) * at.AS_IF,
        at.SPACE_MM: np.arange(len(trace.spaces)),
        at.TIME_NS: events.time_ns,
        at.KIND: events.kind,
        at.ACTOR: mm,
        at.FIRST: np.where(whole, 0, universe.first) + offset,
        at.LAST: np.where(whole, universe.size[mm], universe.last) + offset,
        at.TARGET_FIRST: universe.target_first + offset,
        at.TARGET_LAST: universe.target_last + offset,
        at.VALUE: value,
        at.ALLOCATE_ON: events.node,
        at.NAME: events.name,
        at.PAGE: events.page,
        at.PAIR_FIRST: universe.pair_first,
        at.PAIRS: pairs.ravel(),
        at.GAP_FIRST: universe.gap_first,
        at.GAPS: gaps.ravel(),
    }
    return Plan(
        columns={
            number: np.ascontiguousarray(column, _DTYPES.get(number, np.int64)) for number, column in columns.items()
        },
        n_mms=len(owners),
        n_spaces=len(trace.spaces),
        n_entries=int(universe.size.sum()),
        n_folios=n_folios,
        needed_bytes=needed,
        start_ns=int(events.time_ns[0]) if len(mm) else 0,
        end_ns=int(events.time_ns[-1]) if len(mm) else 0,
        intervals=universe.parts,
    )
