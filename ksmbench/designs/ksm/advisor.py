"""The scan-time advisor: pages_to_scan after a full scan (6), with ksmd's time as the cost model has it.

It runs in Python, once in a full scan, as the kernel's 64-bit unsigned arithmetic does not fit compiled int64: there
products wrap at 64 bits, that of pages_to_scan at 32, and so does what is stored in it.
"""

from ksmbench.designs.ksm import state as at
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import DUE, Machine

_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1
_LEAST_CPU = 10  # percent, whatever advisor_max_cpu says


def advise(machine: Machine, start_ns: int) -> None:
    """After a batch that ended a full scan: set pages_to_scan. Where the scan's start is unknown, `start_ns` stands."""
    m = machine.m
    seconds = max(1, (int(m[DUE]) - (int(m[at.SCAN_START]) or start_ns)) // 1_000_000_000)
    cpu_ns = int(m[Counter.CPU_NS])
    percent = max(1, (cpu_ns - int(m[at.ADVISOR_CPU_NS])) // 1_000_000 * 100 // (seconds * 1000))
    last = int(m[at.ADVISOR_SCAN_TIME]) or seconds
    factor = max(1, (int(m[at.ADVISOR_TARGET_SCAN_TIME]) * 100 & _U64) // seconds)
    change = (70 * int(m[at.ADVISOR_CHANGE]) + 30 * max(1, seconds * 100 // last)) // 100
    pages = int(m[at.PAGES_TO_SCAN])
    per_percent = max(1, pages // percent)
    new = (pages * 100 & _U32) // factor * change // 100
    new = min(new, per_percent * int(m[at.ADVISOR_MAX_CPU]) & _U64)
    new = min(max(new, per_percent * _LEAST_CPU), int(m[at.ADVISOR_MAX_PAGES_TO_SCAN]))
    m[at.ADVISOR_CHANGE], m[at.ADVISOR_SCAN_TIME], m[at.ADVISOR_CPU_NS] = change, seconds, cpu_ns
    m[at.PAGES_TO_SCAN] = new & _U32
