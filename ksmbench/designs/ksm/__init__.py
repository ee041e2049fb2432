"""Mainline KSM: ksmd scans the registered address spaces and merges equal anonymous pages.

Idea: contents change while they are looked at, so a sorted tree of them cannot be trusted. Pages that are merged are
write-protected: these are kept in the *stable* tree, whose order holds. Pages that did not change since the last look
go into the *unstable* tree, which is thrown away after every full scan; equal ones found there are merged and move.

Data structures: a ring of `mm_slot`s, one per registered mm, with ksmd's cursor; an `rmap_item` per scanned page with
its last checksum, age and skips; a stable node per merged frame with the list of its items, and chains of such nodes
where a frame has max_page_sharing items.

Not modelled: NUMA nodes (merge_across_nodes is 1), the advisor, checksum collisions that a trace does not have, pages
that are locked or pinned at the moment ksmd tries them.

Source: Linux 6.18 as told in `ksm-semantics.md` 1 to 8, checked against a running 6.18.44 (`tests/kernel`).
"""

import numpy as np

from ksmbench.designs.design import Design, Setting
from ksmbench.designs.ksm import state as at
from ksmbench.designs.ksm.check import check_ksm
from ksmbench.designs.ksm.loop import replay_loop
from ksmbench.designs.ksm.scan import batch
from ksmbench.designs.ksm.warm import LANES, NO_GUESS
from ksmbench.engine.columns import memory_type
from ksmbench.engine.cost import DEFAULT as DEFAULT_COST
from ksmbench.engine.counters import SAMPLED, Counter
from ksmbench.engine.drive import Progress, Record, Timing, drive
from ksmbench.engine.jit import compiled_beside, is_cold
from ksmbench.engine.lcp import add_prefixes
from ksmbench.engine.machine import CHECKSUM, PAGE_SIZE, SETTLED, Machine
from ksmbench.engine.memory import add_memory, check_memory
from ksmbench.engine.plan import Plan
from ksmbench.errors import UsageError
from ksmbench.trace.columns import Trace

_MAX = (1 << 32) - 1
SETTINGS = (
    Setting("run", 1, 0, 2, "0 stops ksmd and keeps what is merged, 1 runs it, 2 stops it and unmerges everything"),
    Setting("pages_to_scan", 100, 0, _MAX, "pages that ksmd processes before it sleeps"),
    Setting("sleep_millisecs", 20, 0, _MAX, "how long ksmd sleeps between two batches"),
    Setting("smart_scan", 1, 0, 1, "look less and less often at pages that did not merge"),
    Setting("use_zero_pages", 0, 0, 1, "map the kernel's zero page for pages full of zeroes"),
    Setting("max_page_sharing", 256, 2, 2**31 - 1, "entries that may map one merged frame"),
    Setting("stable_node_chains_prune_millisecs", 2000, 0, _MAX, "how often chains of full frames are cleaned up"),
)
_SCALAR = {
    "run": at.RUN,
    "pages_to_scan": at.PAGES_TO_SCAN,
    "sleep_millisecs": at.SLEEP_MILLISECS,
    "smart_scan": at.SMART_SCAN,
    "use_zero_pages": at.USE_ZERO_PAGES,
    "max_page_sharing": at.MAX_PAGE_SHARING,
    "stable_node_chains_prune_millisecs": at.PRUNE_MILLISECS,
}
# sizeof on 64-bit 6.18: struct ksm_rmap_item, ksm_stable_node, ksm_mm_slot
ITEM_BYTES, NODE_BYTES, SLOT_BYTES = 64, 64, 48


def _machine(trace: Trace, plan: Plan, settings: dict[str, int], hz: int) -> Machine:
    machine = Machine()
    plan.load(machine)
    add_memory(machine, plan.n_entries, plan.n_mms, plan.n_folios)
    at.add_items(machine, plan.n_entries)
    at.add_nodes(machine, 0)
    at.add_slots(machine, plan.n_mms)
    machine[at.ROOTS] = np.full(2, at.NULL, np.int32)
    machine[at.SETTING_OF] = np.array([_SCALAR.get(name, -1) for name in trace.names], np.int32)
    machine[at.LANE] = np.zeros(2 * LANES + 1, np.int64)
    machine[at.PATHS] = np.full(NO_GUESS + 1, -2, np.int32)
    machine[SETTLED] = np.full(4, -1, np.int64)
    machine[CHECKSUM] = trace.contents.checksum
    add_prefixes(machine, trace.contents.lcp)
    m = machine.m
    m[PAGE_SIZE] = trace.page_size
    m[at.CURSOR] = plan.n_mms
    m[at.HZ] = hz
    for name, scalar in _SCALAR.items():
        m[scalar] = settings[name]
    return machine


def _compile_on_two_cores() -> None:
    # What the loop consists of in two halves, at the first replay: it takes two thirds of the time.
    if is_cold("loop.replay_loop"):
        with compiled_beside("from ksmbench.engine.still import compile_still; compile_still()"):
            batch.compile((memory_type,))  # type: ignore[attr-defined]


def run(
    trace: Trace,
    plan: Plan,
    settings: dict[str, int],
    timing: Timing,
    *,
    check: bool = False,
    progress: Progress | None = None,
) -> Record:
    """Replay `plan` of `trace` through KSM; `settings` holds every one of SETTINGS."""
    if timing.profile is None and settings["sleep_millisecs"] == 0:
        raise UsageError('sleep_millisecs=0 with cost "none": time would stand still; choose a cost profile')
    if timing.settles and settings["pages_to_scan"] == 0 and settings["run"] == 1:
        raise UsageError("pages_to_scan=0 never ends a scan; say with --until when the replay ends")
    _compile_on_two_cores()
    machine = _machine(trace, plan, settings, timing.profile.hz if timing.profile else DEFAULT_COST.hz)

    def step() -> int:
        return int(replay_loop(machine.m))

    def grow() -> None:
        at.grow_nodes(machine, min(int(machine.m[at.PAGES_TO_SCAN]), plan.n_entries))

    record = drive(step, machine, timing, n_spaces=plan.n_spaces, grow=grow, progress=progress)
    nodes = int(machine.m[at.NEXT_NODE] - machine.m[at.NODE_FREE_TOP])
    slots = int(np.count_nonzero(machine[at.REGISTERED]))
    record.metadata_bytes = (
        int(record.counters[Counter.RMAP_ITEMS]) * ITEM_BYTES + nodes * NODE_BYTES + slots * SLOT_BYTES
    )
    if check:
        record.wrong = check_memory(machine) + check_ksm(machine)
    return record


DESIGN = Design(
    name="ksm-6.18",
    summary="Linux 6.18's KSM, counter for counter",
    source="Linux 6.18.y, mm/ksm.c",
    settings=SETTINGS,
    counters=SAMPLED,
    run=run,
)
