"""The explanation as plain numbers and words, which `ksmbench explain --json` prints."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.explaining.area import Subject
from ksmbench.explaining.equality import Equality, find_equal, saved_frames
from ksmbench.explaining.nearest import Differences, first_differences, ranges_of
from ksmbench.trace.describe import oracle_frames

_MOST_OFFSETS = 10
_ALMOST_BYTES = 64  # that differ, at most, in pages that are called almost equal
_COUNTS = (
    "present_pages",
    "zero_page_pages",
    "swapped_pages",
    "merged_pages",
    "page_cache_pages",
    "huge_pages",
    "locked_pages",
    "unread_pages",
)


def _spaces(subject: Subject) -> list[dict[str, Any]]:
    return [
        {"space": row, "pid": s.pid, "name": s.name, "kind": s.kind, **s.facts, "notes": s.notes}
        for row, s in enumerate(subject.spaces)
    ]


def _mappings(subject: Subject, equal: Equality, saves: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row, area in enumerate(subject.areas):
        verdict = area.verdict
        rows.append(
            {
                "space": area.space,
                "pid": subject.spaces[area.space].pid,
                "first_page": area.start,
                "address": f"{area.start * subject.page_size:x}",
                "pages": area.n_pages,
                "mappings": area.n_mappings,
                "name": area.name,
                "verdict": verdict.code,
                "can_merge": verdict.able,
                "asked": verdict.asked,
                "why": verdict.why,
                "remedy": verdict.remedy,
                "notes": list(area.notes),
                **{name: area.counts[name] for name in _COUNTS if name in area.counts},
                "zero_pages": int(equal.zero[row]),
                "equal_in_mapping": int(equal.in_mapping[row]),
                "equal_in_space": int(equal.in_space[row]),
                "equal_elsewhere": int(equal.elsewhere[row]),
                "equal_to_none": int(equal.alone[row]),
                "sharing_a_frame": int(equal.shared[row]),
                "would_save_pages": round(float(saves[row]), 3),
            }
        )
    rows.sort(key=lambda mapping: (-mapping["would_save_pages"], -mapping.get("present_pages", 0)))
    return rows


def _savings(subject: Subject) -> dict[str, int]:
    # As frames; each step adds what needs one more change.
    held = subject.held
    able = np.array([area.verdict.able for area in subject.areas], np.bool_)
    asked = np.array([area.verdict.asked for area in subject.areas], np.bool_)
    n_frames = int(held.frame.max()) + 1 if len(held.frame) else 0

    def saved(which: npt.NDArray[np.bool_]) -> int:
        return n_frames - oracle_frames(held.frame, held.rank, which[held.area], n_frames, len(subject.lcp))

    return {
        "as_asked_pages": saved(able & asked),
        "if_all_asked_pages": saved(able),
        "if_all_were_private_pages": saved(np.ones(len(able), np.bool_)),
    }


def _middle(values: npt.NDArray[np.int64] | None, which: npt.NDArray[np.bool_]) -> int | None:
    return None if values is None or not which.any() else int(np.median(values[which]))


def _where(subject: Subject, areas: npt.NDArray[np.int64]) -> str:
    # The mapping that most of these pages lie in.
    area = subject.areas[int(np.bincount(areas).argmax())]
    space = subject.spaces[area.space]
    return f"{space.name}: {area.name or 'anonymous'}"


def _differences(subject: Subject, equal: Equality) -> dict[str, Any]:
    held = subject.held
    wanted = np.flatnonzero(equal.is_alone)
    there = np.unique(held.rank)
    found: Differences = first_differences(
        held.rank[wanted], there, subject.lcp, subject.page_size, subject.words, subject.stored
    )
    wanted = wanted[: len(found.offset)]
    is_almost = np.ones(len(wanted), np.bool_) if found.n_bytes is None else found.n_bytes <= _ALMOST_BYTES

    def almost(which: npt.NDArray[np.bool_]) -> int | None:
        return None if found.n_bytes is None else int(np.count_nonzero(which & is_almost))

    ranges = []
    for first, last in ranges_of(subject.page_size):
        which = (found.offset >= first) & (found.offset <= last)
        n = int(np.count_nonzero(which))
        row = {"first": first, "last": last, "pages": n, "almost_equal_pages": almost(which)}
        ranges.append({**row, "median_bytes": _middle(found.n_bytes, which)})
    offsets, count = np.unique(found.offset[is_almost], return_counts=True)
    commonest = []
    for at in np.argsort(-count, kind="stable")[:_MOST_OFFSETS].tolist():
        if count[at] > 1:
            which = (found.offset == offsets[at]) & is_almost
            row = {"offset": int(offsets[at]), "pages": int(count[at])}
            place = _where(subject, held.area[wanted[which]])
            commonest.append({**row, "median_bytes": _middle(found.n_bytes, which), "mostly_in": place})
    return {
        "pages": len(found.offset),
        "almost_equal_bytes": _ALMOST_BYTES,
        "almost_equal_pages": almost(is_almost),
        "ranges": ranges,
        "offsets": commonest,
    }


def explain(subject: Subject) -> dict[str, Any]:
    """Count and compare; mappings come sorted by what merging them would save, in pages."""
    space_of = np.array([area.space for area in subject.areas], np.int64)
    equal = find_equal(subject.held, space_of, len(subject.lcp))
    everything = np.ones(len(subject.held.area), np.bool_)
    saves = saved_frames(subject.held, everything, len(subject.areas))
    return {
        **subject.source,
        "page_size": subject.page_size,
        "ksm": subject.ksm,
        "first": subject.first,
        "spaces": _spaces(subject),
        "mappings": _mappings(subject, equal, saves),
        "savings": _savings(subject),
        "differences": _differences(subject, equal),
    }
