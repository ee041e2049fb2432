"""What a capture was asked for and what it can see, as the manifest's `capture` says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksmbench import __version__
from ksmbench.capture.pagemap import PageMap
from ksmbench.capture.sources import Source


@dataclass(frozen=True)
class Options:
    """What a user asked for; times in seconds. `duration_s` None: until it is interrupted or every process ended."""

    output: Path
    interval_s: float
    duration_s: float | None
    stop_s: float = 0.0
    force: bool = False
    label: str = ""
    notes: str = ""
    recipe: str = ""
    command: str = ""


def asked_for(options: Options, sources: Sequence[Source]) -> dict[str, Any]:
    """Return the part that the command line decided."""
    asked: dict[str, Any] = {"tool": f"ksmbench {__version__}", "command": options.command}
    if options.recipe:
        asked["recipe"] = options.recipe
    asked["sources"] = [{"pid": s.pid, "name": s.name, "kind": s.kind} for s in sources]
    asked["interval_ns"] = round(options.interval_s * 1e9)
    return asked


def tracked(maps: Sequence[PageMap]) -> dict[str, Any]:
    """Return what is recorded, what is not, and which of the kernel's interfaces told."""
    has_scan = all(pagemap.has_scan for pagemap in maps)
    not_tracked = [
        "what happened and was undone between two looks",
        "writes of the bytes that were there",
        "whose zero pages those found at first are, the process's or KSM's (use_zero_pages)",
        "moves (seen as unmap and map)",
        "children of a fork",
        "file and shared mappings",
        "NUMA nodes of frames",
    ]
    if not has_scan:
        not_tracked.append("huge frames (this kernel lacks PAGEMAP_SCAN)")
    if not all(pagemap.sees_frames for pagemap in maps):
        not_tracked.append("the huge zero page, which looks like a frame of zeros (needs /proc/kpageflags)")
    return {
        "tracked": [
            "private anonymous mappings",
            "advice MERGEABLE, HUGEPAGE, NOHUGEPAGE, DONTFORK, WIPEONFORK",
            "pages absent, zero-mapped, present, swapped out",
            "changed contents",
            "PR_SET_MEMORY_MERGE where /proc/PID/ksm_stat tells",
            "exec and exit",
            "changes of KSM's settings",
        ],
        "not_tracked": not_tracked,
        "reader": "PAGEMAP_SCAN" if has_scan else "pagemap",
    }


def consistency(stop_s: float) -> str:
    """Return what the pages of one look have to do with each other in time."""
    first = "; the rows of time 0 are the first look, which ended as the clock began (first_look_s)"
    if stop_s <= 0:
        return (
            "nothing was stopped: a look at one process takes its pages one after the other while it runs, so pages of "
            f"one look can be of slightly different moments; every page is as it was at some moment of its look{first}"
        )
    return (
        f"each process was stopped while it was looked at, for at most {stop_s * 1e3:g} ms; its pages of one look are "
        f"of one moment unless the stop was cut short (stops_cut_short), those of different processes are not{first}"
    )
