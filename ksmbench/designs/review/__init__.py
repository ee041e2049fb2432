"""The designs that were on the table when KSM moved from an ioctl device to madvise, 2009 (`docs/designs-2009.md`)."""

from ksmbench.designs.review import devksm, ksm_2_6_32, ksm_rollup, madvise_rfc

DESIGNS = (ksm_2_6_32.DESIGN, ksm_rollup.DESIGN, madvise_rfc.DESIGN, devksm.DESIGN)
