"""Mainline KSM: ksmd scans the registered address spaces and merges equal anonymous pages.

Idea: contents change while they are looked at, so a sorted tree of them cannot be trusted. Pages that are merged are
write-protected: these are kept in the *stable* tree, whose order holds. Pages that did not change since the last look
go into the *unstable* tree, which is thrown away after every full scan; equal ones found there are merged and move.

Data structures: a ring of `mm_slot`s, one per registered mm, with ksmd's cursor; an `rmap_item` per scanned page with
its last checksum, age and skips; a stable node per merged frame with the list of its items, and chains of such nodes
where a frame has max_page_sharing items.

One engine for all releases from 2.6.33 on: what they decide differently is read from the release's `features`.

Not modelled: checksum collisions that a trace does not have, pages that are locked or pinned at the moment ksmd tries
them, and the odd rounding that 4.14 to 6.17 give to a sleep of a second and more.

Source: Linux 6.18 as told in `ksm-semantics.md` 1 to 8 and other releases as in 11; 6.18 is checked against a running
6.18.44 (`tests/kernel`).
"""

from functools import partial

import numpy as np

from ksmbench.designs.design import RELEASES, Design
from ksmbench.designs.ksm import state as at
from ksmbench.designs.ksm.advisor import advise
from ksmbench.designs.ksm.check import check_ksm
from ksmbench.designs.ksm.control import DEFAULT_PAGES_TO_SCAN
from ksmbench.designs.ksm.features import (
    COMPARED,
    NEWEST,
    Features,
    differences,
    find_features,
    parse_release,
    releases,
)
from ksmbench.designs.ksm.holes import add_holes
from ksmbench.designs.ksm.loop import ADVISE, replay_loop
from ksmbench.designs.ksm.release import counters_of, files_of, load_release, settings_of, space_counters_of
from ksmbench.designs.ksm.scan import batch
from ksmbench.designs.ksm.warm import LANES, NO_GUESS
from ksmbench.engine.check import check_memory
from ksmbench.engine.columns import memory_type
from ksmbench.engine.cost import DEFAULT as DEFAULT_COST
from ksmbench.engine.counters import Counter
from ksmbench.engine.drive import NEVER_ENDS, STANDS_STILL, Progress, Record, Timing, drive
from ksmbench.engine.lcp import add_prefixes
from ksmbench.engine.machine import ALLOCATE_ON, CHECKSUM, KIND, PAGE_SIZE, SETTLED, VALUE, Machine
from ksmbench.engine.memory import add_memory
from ksmbench.engine.plan import Plan
from ksmbench.engine.samples import PAUSE
from ksmbench.engine.still import compile_beside_still
from ksmbench.errors import UsageError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind

# sizeof on 64-bit 6.18: struct ksm_rmap_item, ksm_stable_node, ksm_mm_slot
ITEM_BYTES, NODE_BYTES, SLOT_BYTES = 64, 64, 48


def _numa_nodes(plan: Plan) -> int:
    # As many as the trace names.
    migrates = plan.columns[KIND] == Kind.MIGRATE
    used = np.concatenate([plan.columns[ALLOCATE_ON].astype(np.int64), plan.columns[VALUE][migrates]])
    return 1 + int(used.max(initial=0))


def _machine(features: Features, trace: Trace, plan: Plan, settings: dict[str, int], hz: int) -> Machine:
    machine = Machine()
    plan.load(machine)
    add_memory(machine, plan.n_entries, plan.n_mms, plan.n_folios)
    at.add_items(machine, plan.n_entries)
    add_holes(machine, plan, features.range_walk)
    at.add_nodes(machine, 0)
    at.add_slots(machine, plan.n_mms)
    at.add_trees(machine, _numa_nodes(plan), plan.n_entries)
    files = files_of(features)
    machine[at.SETTING_OF] = np.array([files.get(name, -1) for name in trace.names], np.int32)
    machine[at.LANE] = np.zeros(2 * LANES + 1, np.int64)
    machine[at.PATHS] = np.full(NO_GUESS + 1, -2, np.int32)
    machine[SETTLED] = np.full(4, -1, np.int64)
    machine[CHECKSUM] = trace.contents.checksum
    add_prefixes(machine, trace.contents.lcp)
    m = machine.m
    m[PAGE_SIZE] = trace.page_size
    m[at.CURSOR] = plan.n_mms
    m[at.HZ] = hz
    load_release(machine, features, settings)
    return machine


def run(
    features: Features,
    trace: Trace,
    plan: Plan,
    settings: dict[str, int],
    timing: Timing,
    *,
    check: bool = False,
    progress: Progress | None = None,
) -> Record:
    """Replay `plan` of `trace` through the KSM of a release; `settings` holds every one that it has."""
    if timing.profile is None and settings["sleep_millisecs"] == 0:
        raise UsageError(STANDS_STILL)
    if timing.settles and settings["pages_to_scan"] == 0 and settings["run"] == 1:
        raise UsageError(NEVER_ENDS)
    if settings.get("advisor_mode") and settings["pages_to_scan"] != DEFAULT_PAGES_TO_SCAN:
        raise UsageError("pages_to_scan cannot be set while the advisor does; leave it out, or advisor_mode")
    compile_beside_still("loop.replay_loop", batch, (memory_type,))
    machine = _machine(features, trace, plan, settings, timing.profile.hz if timing.profile else DEFAULT_COST.hz)

    def step() -> int:
        status = int(replay_loop(machine.m))
        if status != ADVISE:
            return status
        advise(machine, timing.start_ns)
        return PAUSE

    def grow() -> None:
        at.grow_nodes(machine, min(int(machine.m[at.PAGES_TO_SCAN]), plan.n_entries))

    record = drive(
        step,
        machine,
        timing,
        n_spaces=plan.n_spaces,
        grow=grow,
        progress=progress,
        budget=at.PAGES_TO_SCAN,
        files=files_of(features),
    )
    nodes = int(machine.m[at.NEXT_NODE] - machine.m[at.NODE_FREE_TOP])
    slots = int(np.count_nonzero(machine[at.REGISTERED]))
    record.metadata_bytes = (
        int(record.counters[Counter.RMAP_ITEMS]) * ITEM_BYTES + nodes * NODE_BYTES + slots * SLOT_BYTES
    )
    if check:
        record.wrong = check_memory(machine) + check_ksm(machine)
    return record


def make_design(release: str) -> Design | None:
    """The design of a release as "6.18", "6.12.54" or "2.6.35"; None where there is no such KSM."""
    parsed = parse_release(release)
    features = find_features(*parsed) if parsed else None
    if parsed is None or features is None:
        return None
    whole_series = parsed[1] is None
    compared = any(features == find_features(*kernel) for kernel in COMPARED)
    how = "counter for counter" if compared else "after the specification, not compared with a kernel"
    return Design(
        name=f"ksm-{release}",
        summary=f"Linux {release}'s KSM{' with its updates' if whole_series else ''}, {how}",
        source=f"Linux {release}{'.y' if whole_series else ''}, mm/ksm.c",
        family=RELEASES,
        settings=settings_of(features),
        counters=counters_of(features),
        space_counters=space_counters_of(features),
        run=partial(run, features),
    )


def all_designs() -> list[Design]:
    """A design for every release that differs from its neighbours, newest first."""
    return [design for release in releases() if (design := make_design(release)) is not None]


def features_of(design: Design) -> Features | None:
    """The features of a design that is a release of Linux."""
    return design.run.args[0] if design.family == RELEASES and isinstance(design.run, partial) else None


def release_of(name: str) -> str:
    """The release that the name of a design means: "ksm" alone is the newest."""
    return ".".join(map(str, NEWEST)) if name == "ksm" else name.removeprefix("ksm-")


__all__ = ["all_designs", "differences", "features_of", "make_design", "release_of", "run"]
