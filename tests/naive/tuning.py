"""Stores into the files of /sys/kernel/mm/ksm (8.12 of the specification)."""

from tests.naive.advisor import Advisor
from tests.naive.ksm import Ksm

UINT_MAX = (1 << 32) - 1
_ULONG_MAX = (1 << 64) - 1
# The least and the most that the files take; all others 0 to UINT_MAX.
_TAKEN = {
    "run": (0, 2),
    "smart_scan": (0, 1),
    "use_zero_pages": (0, 1),
    "merge_across_nodes": (0, 1),
    "advisor_mode": (0, 1),
    "max_page_sharing": (2, (1 << 31) - 1),
    "advisor_max_cpu": (0, _ULONG_MAX),
    "advisor_min_pages_to_scan": (0, _ULONG_MAX),
    "advisor_max_pages_to_scan": (0, _ULONG_MAX),
    "advisor_target_scan_time": (1, _ULONG_MAX),
}


def tune(ksm: Ksm, name: str, value: int) -> bool:
    """A store; False where the kernel would refuse it, and then nothing changes."""
    if name not in ksm.settings or name == "pages_scanned_bug":
        return False
    if name in ("smart_scan", "use_zero_pages") and value >= 0:
        value = int(str(value)[0])  # "10" is "1" to the kernel
    least, most = _TAKEN.get(name, (0, UINT_MAX))
    if not least <= value <= most or name == "pages_to_scan" and ksm.settings.get("advisor_mode"):
        return False
    if name == "advisor_max_cpu":
        value &= UINT_MAX  # kept in 32 bits
    if value == ksm.settings[name]:
        return True
    if name in ("max_page_sharing", "merge_across_nodes") and (ksm.shared > 0 or not ksm.stable.remove_leftovers()):
        return False
    ksm.settings[name] = value
    if name == "run" and value == 2:
        _unmerge_all(ksm)
    if name == "advisor_mode":
        if value:
            ksm.advisor = Advisor()
        ksm.settings["pages_to_scan"] = ksm.settings["advisor_min_pages_to_scan"] & UINT_MAX if value else 100
    return True


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
    if ksm.features.run2_drops_nodes:
        ksm.stable.remove_leftovers()
    ksm.seq = 0
    ksm.cursor = None
