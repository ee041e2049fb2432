"""Plays scenarios on the running kernel and compares every counter after every batch with the engine's.

python -m tests.kernel.campaign --seeds 0-249
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import polars as pl

from ksmbench import designs
from ksmbench.designs.ksm import DESIGN
from ksmbench.engine.counters import SAMPLED
from ksmbench.engine.drive import Timing
from ksmbench.engine.plan import make_plan
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.validate.kernel import Played, play_on_kernel
from ksmbench.validate.player import PLAYABLE
from tests.kernel.scenarios import BATCH_NS, huge_scenario, random_scenario
from tests.naive.directed import directed
from tests.naive.directed_rare import directed_rare

SPACE_COLUMNS = ("ksm_rmap_items", "ksm_merging_pages", "ksm_zero_pages")


def engine(trace: Trace, n_batches: int, settings: dict[str, int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The engine's rows for the same batches, and those of the spaces."""
    plan = make_plan(trace)
    timing = Timing(
        start_ns=plan.start_ns,
        until_ns=plan.start_ns + (n_batches - 1) * BATCH_NS,
        every_batch=True,
        with_spaces=True,
    )
    record = DESIGN.run(trace, plan, designs.complete_settings(DESIGN, settings), timing, check=True)
    assert not record.wrong, record.wrong
    rows = pl.DataFrame(record.rows, schema=["time_ns", *SAMPLED], orient="row")
    spaces = pl.DataFrame(record.spaces, schema=["time_ns", "space", *SPACE_COLUMNS], orient="row")
    return rows, spaces


def differences(played: Played, rows: pl.DataFrame, spaces: pl.DataFrame) -> tuple[int, list[str]]:
    """Values compared, and a sentence per batch that differs."""
    found: list[str] = []
    if len(rows) != len(played.samples):
        found.append(f"{len(rows)} batches in the engine, {len(played.samples)} in the kernel")
    n = min(len(rows), len(played.samples))
    columns = [name for name in played.samples.columns if name in rows.columns]
    for batch in range(n):
        ours, theirs = rows.row(batch, named=True), played.samples.row(batch, named=True)
        wrong = [f"{name} {ours[name]} (kernel {theirs[name]})" for name in columns if ours[name] != theirs[name]]
        if wrong:
            found.append(f"batch {batch}: {', '.join(wrong)}")
    theirs = played.spaces.with_columns(pl.col("space").cast(pl.Int64)).rows()
    ours = spaces.rows()
    found += [f"space row {mine}, kernel {other}" for mine, other in zip(ours, theirs, strict=False) if mine != other]
    if len(ours) != len(theirs):
        found.append(f"{len(ours)} space rows in the engine, {len(theirs)} in the kernel")
    return n * len(columns) + 3 * len(theirs), found


def _steppable(trace: Trace, n_batches: int, settings: dict[str, int]) -> bool:
    """Whether real processes can play it, and ksmd never idles nor has its sleep changed, so that it can be stepped."""
    events = trace.events
    tunes = {trace.names[events.name[row]] for row in np.flatnonzero(events.kind == Kind.TUNE)}
    kinds = {Kind(kind) for kind in np.unique(events.kind)}
    if not kinds <= PLAYABLE or tunes & {"run", "sleep_millisecs"} or "sleep_millisecs" in settings:
        return False
    return len(engine(trace, n_batches, settings)[0]) == n_batches


def directed_scenarios() -> Iterator[tuple[str, Trace, dict[str, int], int]]:
    """Those of `tests.naive.directed` that can be stepped."""
    for name, trace, settings in [*directed(), *directed_rare()]:
        times = trace.events.time_ns
        n_batches = int(times[-1] - times[0]) // BATCH_NS + 1
        if _steppable(trace, n_batches, settings):
            yield name, trace, settings, n_batches


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
        rows, spaces = engine(trace, n_batches, settings)
        played = play_on_kernel(trace, n_batches=n_batches, frames=options.frames, **settings)
        values, found = differences(played, rows, spaces)
        totals["scenarios"] += 1
        totals["batches"] += n_batches
        totals["values"] += values
        if found:
            totals["scenarios that differ"] += 1
            print(f"{name} {settings}: {len(found)} differences, first: {found[0]}", flush=True)
    print(", ".join(f"{value:,} {name}" for name, value in totals.items()))
    return int(totals["scenarios that differ"] > 0)


if __name__ == "__main__":
    sys.exit(main())
