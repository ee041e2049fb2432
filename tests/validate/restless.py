"""Merged frames that move between two NUMA nodes of a guest, and which of them its kernel cannot move.

    python -m tests.validate.restless 7.3 40

A kernel reaches the page-table entries of a merged frame through the items on its stable node: each leads to its own
page and to the same page of the processes forked from its own. An entry that none of them leads to keeps the frame
where it is. So it is with a copy that a fork made and ksmd has not visited, where the item of the process it was
forked from is gone, or where ksmd gave up the item but not the page.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from ksmbench import designs
from ksmbench.commands.validate import _design
from ksmbench.designs.ksm.state import ITEM_NEXT, NODE_HEAD
from ksmbench.engine.drive import Timing
from ksmbench.engine.machine import ALIVE, BASE, END, FRAME, NODE, NUMA, SPACE_MM, Machine
from ksmbench.engine.plan import make_plan
from ksmbench.trace.columns import Events, Trace
from ksmbench.trace.schema import Kind
from ksmbench.validate.generate import NEVER_PRUNE, Scenario
from ksmbench.validate.guests import GuestPlay
from ksmbench.validate.kernels import KernelFiles, kernel_files
from ksmbench.validate.validating import Validation, Verdict
from tests.naive.releases import fitting, restless_scenario

_NODES = 2
_STAYS = "pages stayed on another NUMA node"  # the player's words


def scenario(seed: int, design: str) -> Scenario:
    """The restless scenario of `seed` for two NUMA nodes, without what goes by the wall clock."""
    trace, settings = restless_scenario(seed)
    events = trace.events
    value = np.where(events.kind == Kind.MIGRATE, events.value % _NODES, events.value)
    trace = replace(trace, events=events._replace(value=value, node=(events.node % _NODES).astype(np.uint8)))
    if settings["stable_node_chains_prune_millisecs"] not in (0, NEVER_PRUNE):
        settings["stable_node_chains_prune_millisecs"] = 0
    return Scenario(f"restless {seed}", trace, fitting(design, settings))


def _before(trace: Trace, row: int) -> tuple[Trace, int]:
    # The events before `row`, and a moment at which all of them but no later batch have happened.
    events = trace.events
    moment = int(events.time_ns[row]) - 1
    columns = {name: column[: row + 1].copy() for name, column in events._asdict().items()}
    columns["kind"][row] = Kind.MARK
    columns["time_ns"] = np.minimum(columns["time_ns"], moment)
    return replace(trace, events=Events(**columns)), moment


def _stuck(machine: Machine, trace: Trace, row: int) -> bool:
    events, mms = trace.events, machine[SPACE_MM].tolist()
    parent = {int(events.value[i]): int(events.space[i]) for i in range(row) if events.kind[i] == Kind.FORK}
    # All mappings are alike, so that pages at one address are as far from the first of their space.
    place = {
        entry: (space, entry - int(machine[BASE][mm]))
        for space, mm in enumerate(mms)
        for entry in range(int(machine[BASE][mm]), int(machine[END][mm]))
    }
    first = int(events.page[row] - events.page.min(where=events.kind == Kind.MAP, initial=1 << 52))
    pages = range(first, first + int(events.n_pages[row]))
    wanted = [entry for entry, (space, page) in place.items() if space == events.space[row] and page in pages]
    frames = {frame for entry in wanted if (frame := int(machine[FRAME][entry])) >= 0}
    for frame in frames:
        node = int(machine[NODE][frame])
        if node < 0 or machine[NUMA][frame] == events.value[row]:
            continue
        items, item = set(), int(machine[NODE_HEAD][node])
        while item >= 0:
            items.add(place[item])
            item = int(machine[ITEM_NEXT][item])
        for entry, (space, page) in place.items():
            if machine[FRAME][entry] != frame or not machine[ALIVE][mms[space]]:
                continue
            of: int | None = space
            while of is not None and (of, page) not in items:
                of = parent.get(of)
            if of is None:
                return True
    return False


def first_stuck(wanted: Scenario, design: str) -> int | None:
    """The first migrate event that a kernel cannot carry out, by the rule above."""
    chosen = designs.find(design)
    for row in np.flatnonzero(wanted.trace.events.kind == Kind.MIGRATE).tolist():
        trace, moment = _before(wanted.trace, row)
        plan = make_plan(trace)
        found: list[bool] = []

        def look(machine: Machine, row: int = row, found: list[bool] = found) -> None:
            found.append(_stuck(machine, wanted.trace, row))

        timing = Timing(start_ns=plan.start_ns, until_ns=moment, listed=np.array([moment]), look=look)
        chosen.run(trace, plan, designs.complete_settings(chosen, wanted.settings), timing)
        if found[0]:
            return int(row)
    return None


def play(files: KernelFiles, seeds: range, save: Path | None = None) -> tuple[Verdict, list[str]]:
    """What was compared, and where the kernel could or could not move pages otherwise than the rule says."""
    design, wrong = _design(None, files.upstream), []
    with GuestPlay(files, nodes=_NODES, frames=True) as guest:
        validation = Validation(guest, design, save=save)
        for seed in seeds:
            one = scenario(seed, design)
            validation.add(one)
            row, said = first_stuck(one, design), validation.verdict.unplayed.get(one.name, "")
            if (f"row {row}: {_STAYS}" not in said) if row is not None else said:
                wrong.append(f"{one.name}: row {row} by the rule, the kernel: {said or 'all moved'}")
    return validation.verdict, wrong


if __name__ == "__main__":
    verdict, wrong = play(kernel_files(sys.argv[1]), range(int(sys.argv[2])), Path("differences"))
    print(f"{verdict.traces} traces, {verdict.batches:,} batches, {verdict.values:,} values")
    for line in [*map(str, verdict.differences), *(f"{name}: {why}" for name, why in verdict.unplayed.items())]:
        print(line)
    print(f"{len(wrong)} not as the rule says", *wrong, sep="\n")
