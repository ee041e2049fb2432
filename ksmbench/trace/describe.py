"""What is in a trace, as plain numbers that `ksmbench info` prints."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import KIND_NAMES, SETTINGS, TABLES, Kind
from ksmbench.trace.tables import memory_limit, table_path
from ksmbench.trace.walk import Progress, Walk, make_walk, walk
from ksmbench.trace.walk_verbs import ABSENT, MERGEABLE, Odd

KNOWN_SETTINGS = frozenset({*SETTINGS, "max_kernel_pages"})  # of any release; the latter is 2.6.32's

Ids = npt.NDArray[np.int64]


def _distinct(ids: Ids, n: int) -> Ids:
    # The ids below n that occur, ascending, in linear time.
    seen = np.zeros(n, bool)
    seen[ids] = True
    return np.flatnonzero(seen)


def oracle_frames(frame: Ids, content: Ids, mergeable: npt.NDArray[np.bool_], n_frames: int, n_contents: int) -> int:
    """Return how many frames pages need whose frames and contents these are (int64 [n_pages]), merged as can be.

    Every frame that memory outside mergeable mappings maps stays. Every other content of mergeable memory takes one
    frame, unless a frame that stays and that both map holds it; zero pages take none.
    """
    stays = np.zeros(n_frames, bool)
    stays[frame[~mergeable]] = True
    held = _distinct(content[mergeable & stays[frame]], n_contents)
    wanted = _distinct(content[mergeable], n_contents)
    return int(np.count_nonzero(stays)) + int(np.count_nonzero(wanted)) - int(np.count_nonzero(held))


def _snapshot(prepared: Walk, n_contents: int) -> tuple[dict[str, int], list[dict[str, Any]]]:
    # The whole memory, and each space, as the state stands.
    state, begin = prepared.state, prepared.script.begin
    present = np.flatnonzero(state.frame != ABSENT)
    frame = state.frame[present].astype(np.int64)
    content = state.content[frame].astype(np.int64)
    mergeable = state.flags[present] & MERGEABLE != 0
    bounds = np.searchsorted(present, begin)
    rows: list[dict[str, Any]] = []
    for space in range(len(begin) - 1):
        own = content[bounds[space] : bounds[space + 1]]
        n_distinct = int(np.count_nonzero(np.unique(own)))
        zero = int(np.count_nonzero(own == 0))
        rows.append(
            {
                "pages": len(own),
                "mergeable_pages": int(np.count_nonzero(mergeable[bounds[space] : bounds[space + 1]])),
                "zero_pages": zero,
                "distinct_contents": n_distinct,
                "duplicates_within": len(own) - zero - n_distinct,
                "alive": bool(state.alive[space]),
            }
        )
    n_frames = len(state.content)
    used = int(np.count_nonzero(state.mapcount))
    distinct = int(np.count_nonzero(_distinct(content, n_contents)))
    oracle = oracle_frames(frame, content, mergeable, n_frames, n_contents)
    total = {
        "pages": len(present),
        "frames": used,
        "mergeable_pages": int(np.count_nonzero(mergeable)),
        "zero_pages": int(np.count_nonzero(content == 0)),
        "distinct_contents": distinct,
        "duplicates_within": sum(int(row["duplicates_within"]) for row in rows),
        "duplicates_across": sum(int(row["distinct_contents"]) for row in rows) - distinct,
        "oracle_saved_pages": used - oracle,
        "oracle_saved_pages_if_all_mergeable": used - distinct,
    }
    return total, rows


def _oddities(trace: Trace, prepared: Walk) -> dict[str, int]:
    events = trace.events
    odd = {kind.name.lower(): int(prepared.state.odd[kind]) for kind in Odd}
    tunes = events.name[events.kind == Kind.TUNE]
    unknown = np.array([name not in KNOWN_SETTINGS for name in trace.names] or [False])
    odd["tunes_of_unknown_settings"] = int(np.count_nonzero(unknown[tunes])) if len(tunes) else 0
    acting = np.zeros(len(trace.spaces) + 1, bool)
    acting[events.space] = True
    acting[events.value[events.kind == Kind.FORK]] = True
    odd["spaces_without_events"] = int(np.count_nonzero(~acting[:-1]))
    return {name: count for name, count in odd.items() if count}


def _contents(trace: Trace) -> dict[str, int]:
    written = _distinct(trace.events.value[trace.events.kind == Kind.WRITE], len(trace.contents.lcp))
    return {
        "distinct": len(trace.contents.lcp),
        "written": len(written),
        "equal_checksums": len(trace.contents.checksum) - len(np.unique(trace.contents.checksum)),
    }


def _file_sizes(trace: Trace) -> dict[str, int]:
    if trace.path is None:
        return {}
    paths = [trace.path / "trace.json", *(table_path(trace.path, table) for table in TABLES)]
    return {path.name: path.stat().st_size for path in paths if path.is_file()}


def describe(trace: Trace, *, max_memory: int | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Count what is in `trace` and what could be shared, after the events of its first instant and at its end.

    `memory["start"]` and `memory["end"]` count pages: `pages` are page-table entries that map an anonymous frame,
    `frames` what they take as forks share them; duplicates and distinct contents leave zero pages out;
    `duplicates_within` are beyond the first of a content in its space, `duplicates_across` count a content once per
    further space; an oracle holds every content of mergeable memory once and zero pages nowhere. Raises `TraceError`
    (E09) where the pages that can be present need more than `max_memory` bytes (default: half of the machine's memory).
    `progress` is told the part done, 0 to 1.
    """
    events = trace.events
    n_events, n_contents = len(events.kind), len(trace.contents.lcp)
    prepared = make_walk(trace, memory_limit() if max_memory is None else max_memory)
    first_ns, last_ns = (int(events.time_ns[0]), int(events.time_ns[-1])) if n_events else (0, 0)
    split = int(np.searchsorted(events.time_ns, first_ns, side="right"))
    walk(prepared, 0, split, progress)
    start, start_spaces = _snapshot(prepared, n_contents)
    walk(prepared, split, n_events, progress)
    end, end_spaces = _snapshot(prepared, n_contents)
    counts = np.bincount(events.kind, minlength=len(KIND_NAMES))
    at_first = events.kind[:split] == Kind.READ
    return {
        "trace": str(trace.path or ""),
        "label": trace.manifest.get("label") or "",
        "version": trace.manifest["version"],
        "created": trace.manifest.get("created"),
        "page_size": trace.page_size,
        "file_bytes": _file_sizes(trace),
        "events": n_events,
        "events_by_verb": {name: int(n) for name, n in zip(KIND_NAMES, counts, strict=True) if n},
        "first_ns": first_ns,
        "last_ns": last_ns,
        "seconds": (last_ns - first_ns) / 1e9,
        "events_at_start": split,
        "pages_read_at_start": sum(events.n_pages[:split][at_first].tolist()),
        "contents": _contents(trace),
        "memory": {"start": start, "end": end},
        "spaces": [
            {
                "space": number,
                "name": space.name,
                "pid": space.pid,
                "kind": space.kind,
                "domain": space.domain,
                "start": start_spaces[number],
                "end": end_spaces[number],
            }
            for number, space in enumerate(trace.spaces)
        ],
        "host": trace.manifest.get("host") or {},
        "capture": trace.manifest.get("capture") or {},
        "oddities": _oddities(trace, prepared),
    }
