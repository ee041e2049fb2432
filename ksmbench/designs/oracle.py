"""All that could be saved: mergeable memory is merged at once and for free; the bound from below.

Idea: every distinct content of mergeable memory is held once, the all-zero page not at all; memory that did not ask is
left as it is. Where one frame is mapped by both kinds (after a fork), it may be the one that holds the content.
Data structures: a count of entries per content, kept as the events go by. Work costs nothing and is not counted.
"""

from functools import partial

from ksmbench.designs.design import BOUNDS, Design
from ksmbench.engine.still import replay_still

DESIGN = Design(
    name="oracle",
    summary="every duplicate of mergeable memory merged in the same instant, zero pages for nothing",
    source="bound, contract of `oracle` in this project",
    family=BOUNDS,
    counters=("pages_anon", "frames", "frames_ksm"),
    run=partial(replay_still, merged=True),
)
