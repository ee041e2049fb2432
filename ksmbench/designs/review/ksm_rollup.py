"""Hugh Dickins's rollup of 29 June 2009: an own list of mms, VM_MERGEABLE, hooks in fork and exit.

Idea: put in what is necessary. KSM has its own list with its own cursor; a fork tells it of the child, an exit frees
the items at once, so no reference on an mm is needed and its memory is free when its process is gone. A merged page
that a fork or a move brought here is found by its content at the next visit, so nothing stays lost longer than a pass.

Data structures: the ring of mms (or with `list=vma` of runs of mergeable pages), items also for absent addresses,
elements found through addresses, the unstable tree.

Source: Hugh Dickins's mails of 8 and 29 June 2009, as told in `ksm-semantics.md` 10 (c); rule by rule in
`docs/designs-2009.md` 4.
"""

from ksmbench.designs.design import OF_2009, Design, Setting
from ksmbench.designs.review.looping import STOP, finish_batch, next_action
from ksmbench.designs.review.ring import RUN_SETTING, batch, do_event, is_ready
from ksmbench.designs.review.running import BYTES_PER_ENTRY, COMMON_SETTINGS, COUNTERS, Parts, bind, wrprotect_setting
from ksmbench.designs.review.state import BILLS_ABSENT, BREAKS_FAILED, NEEDS_MERGEABLE
from ksmbench.engine.clock import DO_BATCH, DO_EVENT
from ksmbench.engine.columns import pinned
from ksmbench.engine.machine import EVENT, Vector
from ksmbench.engine.samples import DONE
from ksmbench.jit import Integer, kernel

LIST_WORDS = ("mm", "vma")


@kernel
def loop_ring(vector: Vector) -> Integer:
    """Go on with the replay until Python has to act."""
    m = pinned(vector)
    while True:
        todo = next_action(m, is_ready(m))
        if todo == DO_EVENT:
            do_event(m, m[EVENT] - 1)
        elif todo == DO_BATCH:
            batch(m)
            if finish_batch(m):
                return DONE
        else:
            return todo - STOP


DESIGN = Design(
    name="ksm-rollup-2009",
    summary="an own list of mms, hooks in fork and exit, items freed in exit itself; absent pages are billed",
    source="Hugh Dickins, KSM rollup, linux-mm, 29 June 2009",
    family=OF_2009,
    settings=(
        RUN_SETTING,
        *COMMON_SETTINGS,
        wrprotect_setting("pte"),
        Setting.of_words("list", "mm", LIST_WORDS, "what the list is of: mms, or runs of mergeable pages"),
    ),
    bytes_per_entry=BYTES_PER_ENTRY,
    counters=COUNTERS,
    run=bind(
        Parts(
            loop=loop_ring,
            name="ksm_rollup.loop_ring",
            scalars={BREAKS_FAILED: 1, NEEDS_MERGEABLE: 1, BILLS_ABSENT: 1},
        )
    ),
)
