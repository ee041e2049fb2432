"""No merging at all: every frame that the trace's processes would use on their own; the bound from above.

Idea: memory as the events leave it, copy-on-write after forks included. Data structures: none of its own.
"""

from ksmbench.designs.design import BOUNDS, Design
from ksmbench.engine.drive import Progress, Record, Timing
from ksmbench.engine.plan import Plan
from ksmbench.engine.still import replay_still
from ksmbench.trace.columns import Trace


def run(
    trace: Trace,
    plan: Plan,
    settings: dict[str, int],
    timing: Timing,
    *,
    check: bool = False,
    progress: Progress | None = None,
) -> Record:
    """Replay `plan` of `trace` without merging."""
    return replay_still(trace, plan, timing, merged=False, check=check, progress=progress)


DESIGN = Design(
    name="none",
    summary="no merging: the memory that the processes use on their own",
    source="bound, nothing to cite",
    family=BOUNDS,
    counters=("pages_anon", "frames", "frames_ksm", "cow_breaks", "cpu_ns"),
    run=run,
)
