"""A trace as the script that the player (`ksmbench/validate/player/`) plays on a kernel."""

import struct
from collections.abc import Mapping as MappingType
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.errors import KsmbenchError, TraceError
from ksmbench.trace.columns import Contents, Trace
from ksmbench.trace.schema import RANGE_KINDS, Kind

_MAGIC = b"ksmplay1"
_NAME_BYTES = 64
_EVENT = np.dtype(
    [("page", "i8"), ("count", "i8"), ("value", "i8"), ("space", "i4"), ("name", "i2"), ("kind", "u1"), ("node", "u1")]
)
_PAGE_SIZE = 4096
_HUGE = 512  # pages
_FREE_PAGES = 1 << 28  # 1 TiB: above what a small process maps low, below its program, libraries and stack
_FREE_END = 5 << 32  # 80 TiB
FEW_PAGES = 1 << 17  # over all spaces: of so many it is recorded after every batch which frame each has

# What no process can do to itself as the trace tells it.
_UNPLAYABLE = {
    Kind.SHARE: "pages that map another process's frames cannot be made afterwards",
    Kind.SWAPOUT: "pages cannot be swapped out one by one and with certainty",
}
# What every kernel is set to before a trace, where it has the file: the defaults of KSM, and no huge frames but those
# that the trace makes.
DEFAULTS: dict[str, str] = {
    "../transparent_hugepage/enabled": "madvise",
    "advisor_mode": "none",
    "advisor_max_cpu": "70",
    "advisor_min_pages_to_scan": "500",
    "advisor_max_pages_to_scan": "30000",
    "advisor_target_scan_time": "200",
    "pages_to_scan": "100",
    "smart_scan": "1",
    "use_zero_pages": "0",
    "max_page_sharing": "256",
    "stable_node_chains_prune_millisecs": "2000",
    "merge_across_nodes": "1",
}


class UnplayableError(KsmbenchError):
    """Real processes cannot do what a trace says; the text names the row."""


def check_playable(trace: Trace) -> None:
    """Raise `UnplayableError` where no real processes can do what `trace` says, `TraceError` for its contents."""
    events = trace.events
    if trace.page_size != _PAGE_SIZE:
        raise UnplayableError(
            f"pages of {trace.page_size} bytes cannot be played on a kernel with pages of {_PAGE_SIZE}"
        )
    for kind, why in _UNPLAYABLE.items():
        rows = np.flatnonzero(events.kind == kind)
        if len(rows):
            raise UnplayableError(f"row {rows[0]}: {kind.name.lower()} cannot be played: {why}")
    check_contents(trace.contents)


def check_contents(contents: Contents) -> None:
    """Raise `TraceError` where no bytes can have the prefixes and checksums that `contents` says."""
    if len(np.unique(contents.checksum)) != len(contents.checksum):
        raise TraceError("contents: different contents have one checksum; the bytes for that cannot be made")
    # The bytes that are not zero in the content at hand, from the start: the last one is where it differs.
    where: list[int] = []
    byte: list[int] = []
    for row, shared in enumerate(contents.lcp.tolist()[1:], 1):
        while where and where[-1] > shared:
            where.pop()
            byte.pop()
        if not where or where[-1] < shared:
            where.append(shared)
            byte.append(0)
        byte[-1] += 1
        if byte[-1] > 255:
            raise TraceError(f"contents: row {row}: over 255 contents after {shared} common bytes")


def relocation(trace: Trace) -> int:
    """Pages by which a trace is moved to where a process has nothing else; order and huge-page alignment stay."""
    events = trace.events
    ranged = np.isin(events.kind, [int(kind) for kind in RANGE_KINDS])
    moves = events.kind == Kind.MOVE
    if not ranged.any():
        return 0
    lowest = int(min(events.page[ranged].min(), events.value[moves].min(initial=1 << 52)))
    highest = int(
        max((events.page + events.n_pages)[ranged].max(), (events.value + events.n_pages)[moves].max(initial=0))
    )
    shift = _FREE_PAGES - lowest // _HUGE * _HUGE
    if highest + shift > _FREE_END:
        raise UnplayableError(f"the trace spans {highest - lowest:,} pages; no process here has room for that")
    return shift


def _relocated(trace: Trace) -> Trace:
    events, shift = trace.events, relocation(trace)
    page = np.where(np.isin(events.kind, [int(kind) for kind in RANGE_KINDS]), events.page + shift, events.page)
    value = np.where(events.kind == Kind.MOVE, events.value + shift, events.value)
    return replace(trace, events=events._replace(page=page, value=value))


def _ranges(trace: Trace) -> list[tuple[int, int]]:
    # Every page range that the trace ever maps, merged.
    events = trace.events
    maps = events.kind == Kind.MAP
    moves = events.kind == Kind.MOVE
    starts = np.concatenate([events.page[maps], events.value[moves]])
    ends = starts + np.concatenate([events.n_pages[maps], events.n_pages[moves]])
    merged: list[tuple[int, int]] = []
    for start, end in sorted(zip(starts.tolist(), ends.tolist(), strict=True)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _events(trace: Trace) -> npt.NDArray[Any]:
    table = np.zeros(len(trace.events.kind), _EVENT)
    for name in ("page", "value", "space", "name", "kind", "node"):
        table[name] = getattr(trace.events, name)
    table["count"] = trace.events.n_pages
    return table


def _text(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) >= _NAME_BYTES:
        raise UnplayableError(f"the name {text[:20]}… is too long for a file of KSM")
    return encoded.ljust(_NAME_BYTES, b"\0")


def write_script(
    trace: Trace,
    path: Path,
    times: npt.NDArray[np.int64],
    settings: MappingType[str, int],
    *,
    frames: bool = False,
    merges: bool = False,
    with_contents: bool = True,
) -> None:
    """Write what the player is to do to `path`.

    A batch of ksmd runs at each of `times` (ns), after the events up to then, if anything is registered and run is 1.
    `settings` must all be taken by the kernel; sleep_millisecs is the schedule of `times`, no setting here.
    `frames` counts frames, and of traces with few pages records which page has which; `merges` records the events of
    tracefs about merges. Without contents the player is given a file with them.
    """
    check_playable(trace)
    trace = _relocated(trace)
    ranges = _ranges(trace)
    events = trace.events
    ranged = np.isin(events.kind, [int(kind) for kind in RANGE_KINDS])
    wanted = {name: str(value) for name, value in settings.items() if name != "sleep_millisecs"}
    stores = [(name, value, name in wanted) for name, value in {**DEFAULTS, **wanted}.items()]
    is_child = np.zeros(len(trace.spaces), np.uint8)
    is_child[events.value[events.kind == Kind.FORK]] = 1
    first = int(min(events.page[ranged].min(initial=_FREE_PAGES), min((r[0] for r in ranges), default=_FREE_PAGES)))
    last = int(max((events.page + events.n_pages)[ranged].max(initial=first), max((r[1] for r in ranges), default=0)))
    tables = [
        b"".join(_text(name) + _text(value) + struct.pack("<Q", required) for name, value, required in stores),
        b"".join(_text(name) if i in _tuned(trace) else bytes(_NAME_BYTES) for i, name in enumerate(trace.names)),
        is_child.tobytes(),
        np.array(ranges, np.uint64).tobytes(),
        np.searchsorted(events.time_ns, times, side="right").astype(np.uint64).tobytes(),
        _events(trace).tobytes(),
        trace.contents.lcp.tobytes() if with_contents else b"",
    ]
    counts = (len(stores), len(trace.names), len(is_child), len(ranges), len(times), len(events.kind))
    few = sum(after - page for page, after in ranges) * len(trace.spaces) <= FEW_PAGES
    what = (2 if frames and few else int(frames), merges)
    header = struct.pack("<8s12Q", _MAGIC, _PAGE_SIZE, *what, first, last, *counts, len(trace.contents.lcp))
    with path.open("wb") as file:
        file.write(header)
        for table in tables:
            file.write(table.ljust(-(-len(table) // 8) * 8, b"\0"))


def _tuned(trace: Trace) -> frozenset[int]:
    # Names are of mappings too, as long as they like.
    events = trace.events
    return frozenset(events.name[events.kind == Kind.TUNE].tolist())
