"""Plays scenarios on the running kernel and compares every counter after every batch with the engine's.

python -m tests.kernel.campaign --seeds 0-249
"""

import argparse
import sys
from collections.abc import Iterator

from ksmbench.errors import KsmbenchError
from ksmbench.trace.columns import Trace
from ksmbench.validate.agreement import agree
from ksmbench.validate.script import check_playable
from tests.kernel.scenarios import huge_scenario, random_scenario
from tests.naive.directed import directed
from tests.naive.directed_rare import directed_rare


def _is_playable(trace: Trace) -> bool:
    try:
        check_playable(trace)
    except KsmbenchError:
        return False
    return True


def directed_scenarios() -> Iterator[tuple[str, Trace, dict[str, int], int]]:
    """Those of `tests.naive.directed` that processes can play."""
    for name, trace, settings in [*directed(), *directed_rare()]:
        if _is_playable(trace):
            yield name, trace, settings, 0


def main() -> int:
    """Run the campaign; the exit status says whether anything differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-249", help="first-last")
    parser.add_argument("--frames", action="store_true", help="also compare the page tables' frames")
    parser.add_argument("--huge", action="store_true", help="scenarios with huge frames instead")
    parser.add_argument("--directed", action="store_true", help="scenarios written for one rule each instead")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    make = huge_scenario if options.huge else random_scenario
    scenarios = directed_scenarios() if options.directed else ((f"seed {seed}", *make(seed)) for seed in seeds)
    totals = {"scenarios": 0, "batches": 0, "values": 0, "scenarios that differ": 0}
    for name, trace, settings, n_batches in scenarios:
        try:
            result = agree(trace, settings, n_batches=n_batches, frames=options.frames)
        except KsmbenchError as error:
            print(f"{name} {settings}: {error}", flush=True)
            continue
        totals["scenarios"] += 1
        totals["batches"] += len(result.ours.samples)
        totals["values"] += sum(tally.batches for tally in result.tallies.values())
        if result.differs:
            totals["scenarios that differ"] += 1
            print(f"{name} {settings}: first difference: {result.first}", flush=True)
    print(", ".join(f"{value:,} {name}" for name, value in totals.items()))
    return int(totals["scenarios that differ"] > 0)


if __name__ == "__main__":
    sys.exit(main())
