"""Linux 2.6.32's KSM, the first in mainline: what became of the review.

Idea: as the rollup, but absent pages cost no step and have no items, exit leaves the items to ksmd, a merged page that
nobody shares any more is given back, and leaving the stable tree forgets the checksum. Merged frames are still kernel
pages that cannot be swapped, under the quota max_kernel_pages, and elements are found through addresses: 2.6.33 changed
both (`ksmbench.designs.ksm`).

Data structures: the ring of mms, items of present pages, elements found through addresses, the unstable tree.

Source: Linux 2.6.32, as told in `ksm-semantics.md` 10 (c) and 11; rule by rule in `docs/designs-2009.md` 5.
"""

from ksmbench.designs.design import OF_2009, Design
from ksmbench.designs.review.ksm_rollup import loop_ring
from ksmbench.designs.review.ring import RUN_SETTING
from ksmbench.designs.review.running import BYTES_PER_ENTRY, COMMON_SETTINGS, COUNTERS, Parts, bind, wrprotect_setting
from ksmbench.designs.review.state import BREAKS_FAILED, FORGETS, NEEDS_MERGEABLE

DESIGN = Design(
    name="ksm-2.6.32",
    summary="what was merged: an own list of mms, hooks in fork and exit, present pages only, a quota of kernel pages",
    source="Linux 2.6.32, mm/ksm.c",
    family=OF_2009,
    settings=(RUN_SETTING, *COMMON_SETTINGS, wrprotect_setting("pte")),
    bytes_per_entry=BYTES_PER_ENTRY,
    counters=(*COUNTERS, "pages_unshared", "pages_volatile"),
    run=bind(
        Parts(
            loop=loop_ring,
            name="ksm_rollup.loop_ring",
            scalars={BREAKS_FAILED: 1, NEEDS_MERGEABLE: 1, FORGETS: 1},
        )
    ),
)
