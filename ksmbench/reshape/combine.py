"""Several traces as if all of it had happened on one host."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.engine.clock import END_OF_TIME
from ksmbench.errors import UsageError
from ksmbench.reshape.merging import Merged, add_pages, by_bytes, by_equality, one_key
from ksmbench.trace.columns import Space, Trace
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.rows import Rows
from ksmbench.trace.schema import SPACE_VALUE_KINDS, Kind
from ksmbench.trace.tables import has_pages

BYTES, FINGERPRINTS, ZEROES = "bytes", "fingerprints", "zero pages only"
_EXACT = "pages, frames, what the oracle saves, pages_shared and pages_sharing at rest"
_INEXACT = (
    "the order of contents of different traces is made up: comparisons, compared bytes, CPU time and the shapes of the "
    "trees, and with them what is merged at a given moment, are those of one possible order"
)
_PAGES_PER_PIECE = 4096

Progress = Callable[[float], None]  # told the part that is done, from 0 to 1


@dataclass(frozen=True)
class Combined:
    """The new trace, the bytes of its contents where they are known, and what is to be known about it."""

    trace: Trace
    pages: Iterator[npt.NDArray[np.uint8]] | None
    notes: tuple[str, ...]


def _labels(traces: Sequence[Trace]) -> list[str]:
    # A name for each, no two alike.
    names = [str(t.manifest.get("label") or (t.path.resolve().name if t.path else "trace")) for t in traces]
    if len(set(names)) == len(names):
        return names
    return [f"{name}#{number}" for number, name in enumerate(names)]


def _equality(traces: Sequence[Trace], only_zeroes: bool) -> str:
    if all(trace.path is not None and has_pages(trace.path) for trace in traces):
        return BYTES
    if one_key(traces):
        return FINGERPRINTS
    if only_zeroes:
        return ZEROES
    raise UsageError(
        "what these traces have in common cannot be told: they hold neither contents nor fingerprints of one key; "
        "--only-zeroes takes zero pages as equal and all others as different"
    )


def _check(traces: Sequence[Trace], offsets_s: Sequence[float]) -> None:
    if len(traces) < 2:
        raise UsageError("combine takes at least two traces")
    if offsets_s and len(offsets_s) != len(traces):
        raise UsageError(f"{len(offsets_s)} times --offset for {len(traces)} traces; give one for each, or none")
    for trace, offset in zip(traces, offsets_s, strict=False):
        last = int(trace.events.time_ns[-1]) if len(trace.events.time_ns) else 0
        if not 0 <= offset <= (END_OF_TIME - last) / 1e9:
            raise UsageError(f"--offset {offset:g}: must be 0 or more seconds, within what a trace's clock holds")
    sizes = sorted({trace.page_size for trace in traces})
    if len(sizes) > 1:
        raise UsageError(f"the traces have pages of {sizes[0]:,} and of {sizes[1]:,} bytes, which no host has at once")


def _spaces(traces: Sequence[Trace], labels: Sequence[str]) -> list[Space]:
    return [
        replace(space, name=f"{label}/{space.name}")
        for trace, label in zip(traces, labels, strict=True)
        for space in trace.spaces
    ]


def _settling(traces: Sequence[Trace]) -> int:
    # The trace whose stores to KSM's files are kept: a host has one KSM.
    for number, trace in enumerate(traces):
        if (trace.events.kind == Kind.TUNE).any():
            return number
    return 0


def _combined_rows(traces: Sequence[Trace], offsets_ns: Sequence[int], merged: Merged, tuned: int) -> Rows:
    rows = Rows()
    first_space = 0
    order: list[npt.NDArray[np.int64]] = []
    parts = []
    for number, (trace, offset) in enumerate(zip(traces, offsets_ns, strict=True)):
        events = trace.events
        kept = (events.kind != Kind.TUNE) | (number == tuned)
        value = np.where(np.isin(events.kind, sorted(SPACE_VALUE_KINDS)), events.value + first_space, events.value)
        writes = events.kind == Kind.WRITE
        value[writes] = merged.ids[number][events.value[writes]]
        names = np.array([rows.number(name) for name in trace.names] + [-1], np.int32)  # the last for none
        space = np.where(events.kind == Kind.TUNE, 0, events.space + first_space)
        columns = (events.kind, space, events.page, events.n_pages, value, events.node, names[events.name])
        order.append(events.time_ns[kept] + offset)
        parts.append([column[kept] for column in columns])
        first_space += len(trace.spaces)
    times = np.concatenate(order)
    by_time = np.argsort(times, kind="stable")
    rows.add(times[by_time], *(np.concatenate(column)[by_time] for column in zip(*parts, strict=True)))
    return rows


def _notes(traces: Sequence[Trace], labels: Sequence[str], ends: Sequence[int], equality: str, tuned: int) -> list[str]:
    notes = []
    if equality == BYTES:
        notes.append("contents were compared byte by byte: every figure is exact")
    else:
        notes.append(f"exact, as contents are equal where their {equality} are: {_EXACT}; {_INEXACT}")
    if equality == ZEROES:
        notes[0] = f"only zero pages count as equal across traces, so sharing across them is a lower bound; {_INEXACT}"
    dropped = sum(int((t.events.kind == Kind.TUNE).sum()) for i, t in enumerate(traces) if i != tuned)
    if dropped:
        notes.append(f"a host has one KSM: the settings are those of {labels[tuned]}, {dropped} stores were left out")
    early = [label for label, end in zip(labels, ends, strict=True) if end < max(ends)]
    if early:
        notes.append(f"memory stays as it is after a trace ended, which holds for {', '.join(early)}")
    return notes


def combine(
    traces: Sequence[Trace],
    stack: ExitStack,
    *,
    offsets_s: Sequence[float] = (),
    only_zeroes: bool = False,
    label: str = "",
    progress: Progress | None = None,
) -> Combined:
    """Put `traces` on one host, each `offsets_s` seconds later than it says; spaces are named LABEL/NAME.

    What the bytes need stays open until `stack` closes. Raises `UsageError` where the traces do not fit together.
    """
    _check(traces, offsets_s)
    equality = _equality(traces, only_zeroes)
    labels = _labels(traces)
    offsets = [round(offset * 1e9) for offset in offsets_s] or [0] * len(traces)
    pages = None
    if equality == BYTES:
        store = stack.enter_context(ContentStore(traces[0].page_size))
        provisional = []
        for number, trace in enumerate(traces):
            provisional.append(add_pages(store, trace))
            if progress is not None:
                progress((number + 1) / (len(traces) + 1))
        merged = by_bytes(traces, provisional, store)
        pages = _ranked_pages(store, provisional, merged)
    else:
        merged = by_equality(traces, only_zeroes=equality == ZEROES)
    tuned = _settling(traces)
    rows = _combined_rows(traces, offsets, merged, tuned)
    ends = [
        int(trace.events.time_ns[-1]) + offset if len(trace.events.time_ns) else 0
        for trace, offset in zip(traces, offsets, strict=True)
    ]
    notes = _notes(traces, labels, ends, equality, tuned)
    made = Trace(
        _manifest(traces, labels, offsets, equality, notes, label),
        tuple(_spaces(traces, labels)),
        rows.events(),
        merged.contents,
        tuple(rows.names),
        fingerprint=merged.fingerprint,
    )
    return Combined(made, pages, tuple(notes))


def _ranked_pages(
    store: ContentStore, provisional: Sequence[npt.NDArray[np.int64]], merged: Merged
) -> Iterator[npt.NDArray[np.uint8]]:
    order = np.zeros(len(store), np.int64)
    for numbers, ids in zip(provisional, merged.ids, strict=True):
        order[ids] = numbers
    for start in range(0, len(order), _PAGES_PER_PIECE):
        yield store.read(order[start : start + _PAGES_PER_PIECE])


def _manifest(
    traces: Sequence[Trace],
    labels: Sequence[str],
    offsets_ns: Sequence[int],
    equality: str,
    notes: Sequence[str],
    label: str,
) -> dict[str, Any]:
    first = traces[0].manifest
    of = [
        {
            "label": name,
            "offset_ns": offset,
            **{key: trace.manifest[key] for key in ("trace_id", "created", "host", "capture") if key in trace.manifest},
        }
        for trace, name, offset in zip(traces, labels, offsets_ns, strict=True)
    ]
    return {
        "format": first["format"],
        "version": first["version"],
        "page_size": first["page_size"],
        "trace_id": uuid.uuid4().hex,
        "label": label or " + ".join(labels),
        "combined": {"equal_by": equality, "notes": list(notes), "of": of},
    }
