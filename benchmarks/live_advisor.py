"""What the kernel's own advisor does on a live pre-forking service: pages_to_scan, and ksmd's CPU time.

    python -m benchmarks.live_advisor [--seconds 60]

With smart scan off and on: turns the scan-time advisor on with its defaults, starts the service of
`workloads.prefork_prctl` under load, and reads once a second what the advisor set and what ksmd took. The advisor's
first look charges all CPU time that ksmd took since boot to one pass, which on a machine that has tested KSM for an
hour leaves pages_to_scan at 10 for minutes; so a few passes over next to nothing come first, as on a host that turns
KSM on at boot. The report about smart scan and the advisor (reports/prefork-smart-scan-advisor) says what a replay
makes of the same service. Needs root, Linux 6.8 or newer, and the host's KSM alone, whose settings are put back.
"""

import argparse
import contextlib
import mmap
import sys
import time
from dataclasses import dataclass

from benchmarks.live_cost import ksmd_ns, serving, store_settings
from ksmbench.errors import KsmbenchError
from ksmbench.validate import sysfs
from workloads.prefork_prctl.__main__ import REQUESTS_PER_S
from workloads.prefork_prctl.service import ITEMS

FIRST_PASSES = 5
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Second:
    """What was read at one moment, `at_s` after ksmd began."""

    at_s: float
    pages_to_scan: int
    full_scans: int
    pages_sharing: int
    cpu_s: float


def watch(seconds: float, smart_scan: int) -> list[Second]:
    """Let ksmd and its advisor run for so long."""
    store_settings({"smart_scan": smart_scan})
    for run in (0, 2, 0):
        sysfs.store("run", run)
    sysfs.store("advisor_mode", "scan-time")
    with contextlib.closing(mmap.mmap(-1, 4 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)) as little:
        little[:] = bytes(range(256)) * (len(little) // 256)
        little.madvise(mmap.MADV_MERGEABLE)
        sysfs.store("run", 1)
        scans, began = int(sysfs.read("full_scans")), time.monotonic()
        while int(sysfs.read("full_scans")) < scans + FIRST_PASSES:
            if time.monotonic() > began + PATIENCE_S:
                raise KsmbenchError(f"ksmd made no {FIRST_PASSES} passes over four pages in {PATIENCE_S:.0f} s")
            time.sleep(0.1)
    found = []
    with serving("workloads.prefork_prctl.service", items=ITEMS, rate=REQUESTS_PER_S):
        before, scans, began = ksmd_ns(), int(sysfs.read("full_scans")), time.monotonic()
        while time.monotonic() < began + seconds:
            time.sleep(1.0)
            names = ("pages_to_scan", "full_scans", "pages_sharing")
            pages, ended, sharing = (int(sysfs.read(name)) for name in names)
            found.append(Second(time.monotonic() - began, pages, ended - scans, sharing, (ksmd_ns() - before) / 1e9))
        sysfs.store("run", 0)
    sysfs.store("advisor_mode", "none")
    return found


def told(smart_scan: int, seen: list[Second]) -> str:
    """A row: the whole time, then its second half."""
    half, end = seen[len(seen) // 2], seen[-1]
    span, passes = end.at_s - half.at_s, end.full_scans - half.full_scans
    late = [second.pages_to_scan for second in seen[len(seen) // 2 :]]
    return (
        f"{smart_scan:>10}{max(s.pages_to_scan for s in seen):>10,}{sum(late) / len(late):>14,.0f}"
        f"{span / max(1, passes):>16.2f}{100 * (end.cpu_s - half.cpu_s) / span:>20.1f}{end.pages_sharing / 256:>12,.0f}"
    )


def main() -> int:
    """Print a row with smart scan off and one with it on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    try:
        if not (sysfs.ROOT / "advisor_mode").exists():
            raise KsmbenchError("this kernel has no advisor; it came with Linux 6.8")
        with sysfs.KsmSession():
            rows = [told(smart, watch(given.seconds, smart)) for smart in (0, 1)]
    except KsmbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{'':>10}{'pages_to_scan':>24}{'in the second half of the time:':>36}")
    heads = f"{'a full scan (s)':>16}{'ksmd (% of a CPU)':>20}{'MiB saved':>12}"
    print(f"{'smart_scan':>10}{'peak':>10}{'2nd half':>14}{heads}")
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
