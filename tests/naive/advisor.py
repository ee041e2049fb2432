"""The scan-time advisor, line by line after section 6 of the specification.

Numbers are unsigned and wrap: pages_to_scan and its product at 32 bits, all others at 64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.naive.ksm import Ksm

U32 = (1 << 32) - 1
U64 = (1 << 64) - 1


class Advisor:
    """What it keeps from one full scan to the next."""

    def __init__(self) -> None:
        self.start = 0  # ns, when the full scan began; 0: not known
        self.change = 0
        self.scan_time = 0
        self.cpu = 0

    def advise(self, elapsed_ns: int, cpu_ns: int, pages: int, settings: dict[str, int]) -> int:
        """The new pages_to_scan after a full scan that lasted so long, with ksmd's CPU time so far."""
        target, max_cpu = settings["advisor_target_scan_time"], settings["advisor_max_cpu"]
        t = max(1, elapsed_ns // 1_000_000 // 1000)
        d = (cpu_ns - self.cpu) // 1_000_000
        p = max(1, d * 100 // (t * 1000))
        last = self.scan_time or t
        f = max(1, (target * 100 & U64) // t)
        change = max(1, t * 100 // last)
        change = (70 * self.change + 30 * change) // 100
        new = (pages * 100 & U32) // f
        new = (new * change & U64) // 100
        per = max(1, pages // p)
        new = min(new, per * max_cpu & U64)
        new = max(new, per * 10)
        new = min(new, settings["advisor_max_pages_to_scan"])
        self.change, self.scan_time, self.cpu = change, t, cpu_ns
        return new & U32


def end_of_scan(ksm: Ksm, now: int, began: int) -> None:
    """After a batch that ended a full scan; `began` stands for its start where that is not known."""
    elapsed = now - (ksm.advisor.start or began)
    ksm.settings["pages_to_scan"] = ksm.advisor.advise(elapsed, ksm.cpu_ns, ksm.settings["pages_to_scan"], ksm.settings)
