"""Stores into the files of /sys/kernel/mm/ksm."""

from tests.naive.ksm import Ksm

UINT_MAX = (1 << 32) - 1


def tune(ksm: Ksm, name: str, value: int) -> None:
    """A store into /sys/kernel/mm/ksm; what the kernel would refuse changes nothing."""
    if name not in ksm.settings or not 0 <= value <= UINT_MAX or value == ksm.settings[name]:
        return
    if name == "run":
        if value > 2:
            return
        ksm.settings["run"] = value
        if value == 2:
            _unmerge_all(ksm)
        return
    if name in ("smart_scan", "use_zero_pages") and value > 1:
        return
    if name == "max_page_sharing" and not 2 <= value < 1 << 31:
        return
    if name == "max_page_sharing" and (ksm.shared > 0 or not ksm.stable.remove_leftovers()):
        return
    ksm.settings[name] = value


def _unmerge_all(ksm: Ksm) -> None:
    for slot in list(ksm.ring):
        mm = slot.mm
        if mm.alive:
            for page in sorted(mm.areas):
                if mm.mergeable(page):
                    ksm.memory.unshare(mm, page)
        for page in sorted(slot.items):
            ksm.free(slot, page)
        if not mm.alive:
            ksm.ring.remove(slot)
            mm.slot = None
    ksm.stable.remove_leftovers()
    ksm.seq = 0
    ksm.cursor = None
