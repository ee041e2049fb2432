"""All that could be saved: mergeable memory is merged at once and for free; the bound from below.

Idea: every distinct content of mergeable memory is held once, the all-zero page not at all; memory that did not ask is
left as it is. Where one frame is mapped by both kinds (after a fork), it may be the one that holds the content.
Data structures: a count of entries per content, kept as the events go by. Work costs nothing and is not counted.
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
    """Replay `plan` of `trace` with everything mergeable merged at once."""
    return replay_still(trace, plan, timing, merged=True, check=check, progress=progress)


DESIGN = Design(
    name="oracle",
    summary="every duplicate of mergeable memory merged in the same instant, zero pages for nothing",
    source="bound, contract of `oracle` in this project",
    family=BOUNDS,
    counters=("pages_anon", "frames", "frames_ksm"),
    run=run,
)
