"""No merging at all: every frame that the trace's processes would use on their own; the bound from above.

Idea: memory as the events leave it, copy-on-write after forks included. Data structures: none of its own.
"""

from functools import partial

from ksmbench.designs.design import BOUNDS, Design
from ksmbench.engine.still import replay_still

DESIGN = Design(
    name="none",
    summary="no merging: the memory that the processes use on their own",
    source="bound, nothing to cite",
    family=BOUNDS,
    counters=("pages_anon", "frames", "frames_ksm", "cow_breaks", "cpu_ns"),
    run=partial(replay_still, merged=False),
)
