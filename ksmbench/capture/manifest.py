"""What a capture was asked for and what it can see, as the manifest's `capture` says it."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ksmbench import __version__
from ksmbench.capture.disclosure import FINGERPRINTS, neutral_host, only_options, without_key
from ksmbench.capture.pagemap import PageMap
from ksmbench.capture.procfs import PAGE_SIZE
from ksmbench.capture.watched import Watched
from ksmbench.trace.columns import Space
from ksmbench.trace.schema import FORMAT, VERSION
from ksmbench.trace.schema import Mapping as MappingKind


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
    command: Sequence[str] = ()  # the words of the command line
    selection: str = "anonymous"
    follow: bool = False  # the children of a control group's members
    cgroup: str = ""
    key: bytes = field(default=b"", repr=False)  # of fingerprints, if they are wanted
    keep_contents: bool = False
    anonymous: bool = False
    calls: str = "auto"  # where system calls come from: "auto", "tracefs", "strace", "none"; see `tracing.told`
    max_cpu_share: float | None = None  # of one CPU, from the first look on
    max_spool_bytes: int | None = None  # of contents on disk


def spaces_table(options: Options, spaces: Sequence[Watched]) -> list[Space]:
    """Return the rows of the trace's spaces."""
    if options.anonymous:
        return [Space(None, f"{w.source.kind}-{w.space}", w.source.kind) for w in spaces]
    return [Space(w.source.pid, w.source.name, w.source.kind) for w in spaces]


def _source(watched: Watched, row: Space) -> dict[str, Any]:
    source: dict[str, Any] = {"pid": row.pid, "name": row.name, "kind": row.kind}
    if watched.parent is not None:
        source["parent"] = watched.parent.space
    if watched.parent is not None or watched.born_ns > 0:
        source["seen_first_ns"] = watched.born_ns
    return source


def document(options: Options, identity: str, created: datetime, host: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest but for its `capture`; `identity` is this trace's, or this checkpoint's."""
    if options.anonymous:
        created, host = created.replace(hour=0, minute=0, second=0), neutral_host(host)
    return {
        "format": FORMAT,
        "version": VERSION,
        "page_size": PAGE_SIZE,
        "trace_id": identity,  # tables of two checkpoints do not mix
        "created": created.isoformat(timespec="seconds"),
        "label": options.label or ("capture" if options.anonymous else options.output.name),
        **({"notes": options.notes} if options.notes else {}),
        "host": host,
    }


def asked_for(options: Options, spaces: Sequence[Watched]) -> dict[str, Any]:
    """Return the part that the command line decided, and whom it recorded."""
    words = only_options(options.command) if options.anonymous else without_key(options.command)
    asked: dict[str, Any] = {"tool": f"ksmbench {__version__}", "command": shlex.join(words)}
    if options.recipe:
        asked["recipe"] = options.recipe
    if options.cgroup:
        asked["cgroup"] = "" if options.anonymous else options.cgroup
    rows = spaces_table(options, spaces)
    asked["sources"] = [_source(watched, row) for watched, row in zip(spaces, rows, strict=True)]
    asked["selection"] = options.selection
    if options.key:
        asked["fingerprints"] = FINGERPRINTS
    asked["contents_kept"] = options.keep_contents
    asked["names"] = "replaced" if options.anonymous else "as they are"
    if options.max_cpu_share is not None:
        asked["max_cpu_share"] = options.max_cpu_share
    if options.max_spool_bytes is not None:
        asked["max_spool_bytes"] = options.max_spool_bytes
    asked["interval_ns"] = round(options.interval_s * 1e9)
    return asked


def tracked(spaces: Sequence[Watched], calls: dict[str, Any]) -> dict[str, Any]:
    """Return what is recorded, what is not, and which of the kernel's interfaces told (`calls`: of system calls)."""
    own = PageMap(os.getpid())  # what the kernel has, and what it shows us
    own.close()
    are_told = "applied" in calls
    told = {
        "private anonymous mappings, and copied pages of private file mappings": True,
        "advice MERGEABLE, HUGEPAGE, NOHUGEPAGE, DONTFORK, WIPEONFORK": True,
        "pages absent, zero-mapped, present, swapped out": True,
        "changed contents": True,
        "PR_SET_MEMORY_MERGE where /proc/PID/ksm_stat tells": True,
        "exec and exit": True,
        "changes of KSM's settings": True,
        "mmap, munmap, mremap, brk, madvise, fork, execve, exit, prctl in order, with the kernel's time": are_told,
        **_by_frames(spaces, own.sees_numbers),
    }
    not_tracked = [what for what, is_tracked in told.items() if not is_tracked]
    not_tracked += [
        "what was written and undone between two looks"
        if are_told
        else "what happened and was undone between two looks",
        "writes of the bytes that were there into a frame that no other process had",
        "whose zero pages those found at first are, the process's or KSM's (use_zero_pages)",
        "pages of private file mappings that were not written, and what shared mappings hold",
        "NUMA nodes of frames",
    ]
    not_tracked += _about_selections(spaces)
    not_tracked += _about_children(spaces, are_told)
    if not own.has_scan:
        not_tracked.append("huge frames (this kernel lacks PAGEMAP_SCAN)")
    if not own.sees_frames:
        not_tracked.append("the huge zero page, which looks like a frame of zeros (needs /proc/kpageflags)")
    return {
        "tracked": [what for what, is_tracked in told.items() if is_tracked],
        "not_tracked": not_tracked,
        "reader": "PAGEMAP_SCAN" if own.has_scan else "pagemap",
        "system_calls": calls,
    }


def shared_guests(spaces: Sequence[Watched]) -> list[str]:
    """Return the names of the guests whose memory, or a part of it, is shared."""
    vms = [watched for watched in spaces if watched.source.kind == "vm"]
    return [
        w.source.name for w in vms if any(m.kind == MappingKind.NEVER and m.name == "ram" for m in w.memory.mappings)
    ]


def why_nothing(selection: str, spaces: Sequence[Watched]) -> str:
    """Return the sentence for a capture that finds nothing to record."""
    names = ", ".join(f"{watched.source.name} (process {watched.source.pid})" for watched in spaces)
    what = "mergeable memory" if selection == "mergeable" else "private anonymous memory"
    if selection != "mergeable" and len(shared_guests(spaces)) == len(spaces):
        return f"the memory of {names} is shared, which KSM never merges, so there is nothing to record"
    return f"no {what} was found in {names}, so there is nothing to record"


def _about_selections(spaces: Sequence[Watched]) -> list[str]:
    n_shared = len(shared_guests(spaces))
    lacking = [f"the memory of guests that is shared, and so never merged: of {n_shared}"] if n_shared else []
    if any(watched.source.selection == "mergeable" for watched in spaces):
        lacking.append("memory while it was not mergeable: a mapping is there from the first look at it as mergeable")
    elif any(watched.source.narrow for watched in spaces):
        lacking.append("the memory of a VM's process that is not the guest's")
    return lacking


def _by_frames(spaces: Sequence[Watched], has_numbers: bool) -> dict[str, bool]:
    # What only the numbers of frames tell, which the kernel shows to CAP_SYS_ADMIN.
    lacking = "" if has_numbers else " (the numbers of frames are hidden: needs CAP_SYS_ADMIN)"
    told = {f"moves by mremap{lacking or ', by the numbers of frames'}": has_numbers}
    if len(spaces) > 1:
        told[f"frames that processes share at the same pages, and copies of them with the same bytes{lacking}"] = (
            has_numbers
        )
    return told


def _about_children(spaces: Sequence[Watched], are_told: bool) -> list[str]:
    if not any(watched.source.follow for watched in spaces):
        return ["children of a fork (not asked for)"]
    if are_told:
        return [
            "what a child that ended before it could be looked at wrote",
            "frames shared with a child that moved them to another place before its first look: they count twice",
        ]
    return [
        "children that came and ended between two looks (how many is not known), and their children",
        "children of a process that ended before they were seen",
        "the moment of a fork: it stands at the first look at the child, what both did since then after it",
        "forks of children that executed something else before their first look: they begin as spaces of their own",
    ]


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
