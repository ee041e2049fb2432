"""Stores into the files of /sys/kernel/mm/ksm (8.12 of the specification)."""

from tests.naive.advisor import Advisor
from tests.naive.ksm import Ksm

UINT_MAX = (1 << 32) - 1
_SWITCHES = ("smart_scan", "use_zero_pages", "merge_across_nodes", "advisor_mode")


def tune(ksm: Ksm, name: str, value: int) -> bool:
    """A store; False where the kernel would refuse it, and then nothing changes."""
    if name not in ksm.settings or name == "pages_scanned_bug" or not 0 <= value <= UINT_MAX:
        return False
    if name == "pages_to_scan" and ksm.settings.get("advisor_mode"):
        return False
    if name in _SWITCHES and value > 1 or name == "run" and value > 2:
        return False
    if name == "max_page_sharing" and not 2 <= value < 1 << 31 or name == "advisor_target_scan_time" and value < 1:
        return False
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
        ksm.settings["pages_to_scan"] = ksm.settings["advisor_min_pages_to_scan"] if value else 100
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
