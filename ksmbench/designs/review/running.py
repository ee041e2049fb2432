"""How the four designs are run: their machine, their settings, what a record says of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ksmbench.designs.design import Setting
from ksmbench.designs.review import state as at
from ksmbench.designs.review.check import check_review
from ksmbench.engine import machine as machine_at
from ksmbench.engine.check import check_memory
from ksmbench.engine.columns import vector_type
from ksmbench.engine.counters import REVIEW_COUNTERS, WORK_COUNTERS, Counter
from ksmbench.engine.drive import NEVER_ENDS, STANDS_STILL, Progress, Record, Timing, drive
from ksmbench.engine.lcp import add_prefixes
from ksmbench.engine.machine import CHECKSUM, PAGE_SIZE, SETTLED, Machine
from ksmbench.engine.memory import add_memory
from ksmbench.engine.plan import Plan
from ksmbench.engine.still import compile_beside_still
from ksmbench.engine.tracking import add_tracking
from ksmbench.errors import UsageError
from ksmbench.trace.columns import Trace

# Bytes of struct rmap_item, tree_item (devksm and RFC: a node and a pointer) and mm_slot or region, on 64-bit.
ITEM_BYTES, ELEMENT_BYTES, SLOT_BYTES = 64, 32, 48

BYTES_PER_ENTRY = 150  # of a replay, as `Plan` counts them

_MAX = (1 << 32) - 1
COMMON_SETTINGS = (
    Setting("pages_to_scan", 100, 0, _MAX, "steps that ksmd takes before it sleeps"),
    Setting("sleep_millisecs", 20, 0, _MAX, "how long ksmd sleeps between two batches"),
    Setting("max_kernel_pages", 0, 0, (1 << 63) - 1, "merged frames that may be made, 0: any number"),
)
SLEEP_SETTING = Setting("sleep", 0, 0, _MAX, "the same in microseconds; 0: sleep_millisecs holds")
WRPROTECT_WORDS = ("rmap", "pte")
WRPROTECT_MEANING = "write-protect through the reverse map, or just the entry at hand"
COUNTERS = (
    "full_scans",
    "pages_scanned",
    "pages_shared",
    "pages_sharing",
    "pages_anon",
    "frames",
    "frames_ksm",
    "cow_breaks",
    "checksums",
    "comparisons",
    "compared_bytes",
    "merges",
    "cpu_ns",
    *REVIEW_COUNTERS,
    *(name for name in WORK_COUNTERS if name not in ("stale_nodes_pruned", "empty_entries", "empty_addresses")),
)
_SCALARS = {  # of the settings
    "run": at.RUN,
    "pages_to_scan": at.PAGES_TO_SCAN,
    "sleep_millisecs": at.SLEEP_MILLISECS,
    "sleep": at.SLEEP,
    "max_kernel_pages": at.MAX_KERNEL_PAGES,
    "wrprotect": at.WRPROTECT,
    "fd": at.FD,
    "index_bug": at.INDEX_BUG,
    "callbacks": at.CALLBACKS,
    "merge_pid": at.MERGE_PID,
    "list": at.BY_VMA,
}
_FILES = ("run", "pages_to_scan", "sleep_millisecs", "sleep", "max_kernel_pages")  # that a trace may store to


def wrprotect_setting(default: str) -> Setting:
    """The setting `wrprotect`."""
    return Setting.of_words("wrprotect", default, WRPROTECT_WORDS, WRPROTECT_MEANING)


@dataclass(frozen=True)
class Parts:
    """What makes a design: its compiled loop, and the scalars that say what it decides."""

    loop: Callable[[Any], int]
    name: str  # of the loop, as "file.function"
    scalars: dict[int, int] = field(default_factory=dict)
    regions: bool = False  # places are regions of the device, not mms
    merge_pid: bool = False  # has the files merge_pid and unmerge_pid


def _machine(parts: Parts, trace: Trace, plan: Plan, settings: dict[str, int]) -> Machine:
    machine = Machine()
    plan.load(machine)
    add_memory(machine, plan.n_entries, plan.n_mms, plan.n_folios)
    add_tracking(machine, plan.n_entries, plan.n_mms)
    at.add_items(machine, plan)
    at.add_mms(machine, plan.n_mms)
    m = machine.m
    by_area = parts.regions or settings.get("list")
    at.add_places(machine, plan.n_entries if by_area else plan.n_mms)
    if not by_area:
        at.place_per_mm(machine)
    for name, value in settings.items():
        m[_SCALARS[name]] = value
    m[at.MERGE_PID] = settings.get("merge_pid", -1)
    m[machine_at.NO_HUGE] = 1
    m[machine_at.MOVE_KEEPS_MERGED] = 1
    for scalar, value in parts.scalars.items():
        m[scalar] = value
    if parts.regions:
        m[at.RUN] &= 1
    files = _files(settings)
    if parts.merge_pid:
        files |= {"merge_pid": at.MERGE_PID_STORE, "unmerge_pid": at.UNMERGE_PID_STORE}
    machine[at.SETTING_OF] = np.array([files.get(name, -1) for name in trace.names], np.int32)
    machine[SETTLED] = np.full(4, -1, np.int64)
    machine[CHECKSUM] = trace.contents.checksum
    add_prefixes(machine, trace.contents.lcp)
    m[PAGE_SIZE] = trace.page_size
    return machine


def _files(settings: dict[str, int]) -> dict[str, int]:
    return {name: _SCALARS[name] for name in _FILES if name in settings}


def _check_settings(settings: dict[str, int], timing: Timing, n_spaces: int) -> None:
    if timing.profile is None and settings["sleep_millisecs"] == 0 and not settings.get("sleep"):
        raise UsageError(STANDS_STILL)
    if timing.settles and settings["pages_to_scan"] == 0 and settings["run"] == 1:
        raise UsageError(NEVER_ENDS)
    if settings.get("merge_pid", -1) >= n_spaces:
        raise UsageError(f"merge_pid={settings['merge_pid']}: the trace has {n_spaces} spaces, numbered from 0")


def _run(
    parts: Parts,
    trace: Trace,
    plan: Plan,
    settings: dict[str, int],
    timing: Timing,
    *,
    check: bool = False,
    progress: Progress | None = None,
) -> Record:
    _check_settings(settings, timing, plan.n_spaces)
    compile_beside_still(parts.name, parts.loop, (vector_type,))
    machine = _machine(parts, trace, plan, settings)
    record = drive(
        lambda: int(parts.loop(machine.m)),
        machine,
        timing,
        n_spaces=plan.n_spaces,
        progress=progress,
        budget=at.PAGES_TO_SCAN,
        files=_files(settings),
    )
    held = machine[at.EXIT_NS]
    if (held >= 0).any():
        record.longest_delay_ns = max(record.longest_delay_ns, record.end_ns - int(held[held >= 0].min()))
    elements = int(machine.m[at.NEXT_ELEMENT] - machine.m[at.ELEMENT_FREE_TOP])
    slots = int(np.count_nonzero(machine[at.LISTED]))
    record.metadata_bytes = (
        int(record.counters[Counter.RMAP_ITEMS]) * ITEM_BYTES + elements * ELEMENT_BYTES + slots * SLOT_BYTES
    )
    if check:
        record.wrong = check_memory(machine) + check_review(machine)
    return record


def bind(parts: Parts) -> Callable[..., Record]:
    """The `run` of the design that `parts` make."""
    return partial(_run, parts)
