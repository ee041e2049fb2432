"""What a capture of guests costs, and how fast it reads and compares against a plain copy of the same memory.

    python -m benchmarks.capture_cost [--guests 4] [--memory 256] [--seconds 30] [--busy] [--running NAME ...]

Boots Debian guests (`workloads/debian_guests`, mem-merge=off), records them at intervals of a second and says which
share of one CPU the capture took, all of its process from start to end. Then reads the same pages again and again,
alternately by a plain copy out of /proc/PID/mem (the quickest of several sizes of pieces) and as a capture does. Needs
root. The exit status says whether the share is below a third and the speed at least 60 % of the copy's.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ksmbench.capture.comparing import Comparer
from ksmbench.capture.pagemap import PRESENT, PageMap
from ksmbench.capture.procfs import PAGE_SIZE
from ksmbench.capture.reading import Reader
from ksmbench.capture.sources import Source, find_guests, never_shared
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.store import open_trace
from workloads.debian_guests.__main__ import LOADS
from workloads.debian_guests.guests import Guest
from workloads.debian_guests.image import build, cache_folder, install_host_packages

MOST_SHARE, LEAST_SPEED = 1 / 3, 0.6
PIECES = (16, 64, 256, 1024)  # pages
ROUNDS = 7

Memory = list[tuple[int, npt.NDArray[np.int64]]]  # process id, pages that are there


def share_of_a_capture(names: Sequence[str], seconds: float) -> float:
    """Record the guests; prints what it took and returns its CPU time over the time that it ran."""
    with tempfile.TemporaryDirectory(prefix="ksmbench-cost-") as scratch:
        trace = Path(scratch) / "trace"
        words = [sys.executable, "-m", "ksmbench", "capture", "--qemu", *names, "-o", str(trace)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        subprocess.run([*words, "--interval", "1", "--duration", str(seconds)], check=True, stdout=subprocess.DEVNULL)
        elapsed = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        facts = open_trace(trace).manifest["capture"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    pages = facts["pages_read"] / facts["looks"]
    print(f"capture of {len(names)} guests, {facts['looks']} looks, {pages:,.0f} pages each:")
    print(f"  {100 * cpu / elapsed:5.1f} % of one CPU ({cpu:.2f} s in {elapsed:.1f} s, start and end included)")
    print(f"  {facts['looks_left_out']} looks left out")
    return cpu / elapsed


def pages_there(sources: Sequence[Source]) -> Memory:
    """The pages of each guest that hold a frame."""
    memory = []
    for source in sources:
        pagemap = PageMap(source.pid)
        there = [pagemap.look(m.start, m.end) for m in source.mappings()]
        memory.append((source.pid, np.concatenate([pages.page[pages.state == PRESENT] for pages in there])))
        pagemap.close()
    return memory


def copied(memory: Memory, piece: int) -> None:
    """A plain copy into one buffer of `piece` pages, which is used again and again."""
    buffer = np.ones(piece * PAGE_SIZE, np.uint8)
    for pid, pages in memory:
        file = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        starts = np.flatnonzero(np.diff(pages, prepend=-2) != 1).tolist()
        for start, end in zip(starts, [*starts[1:], len(pages)], strict=True):
            for at in range(start, end, piece):
                n = min(piece, end - at) * PAGE_SIZE
                os.preadv(file, [buffer[:n].data], int(pages[at]) * PAGE_SIZE)
        os.close(file)


def compared(
    memory: Memory, contents: list[npt.NDArray[np.int64]], store: ContentStore, *, unshared: bool
) -> Callable[[], None]:
    """Read and compare all, as a look does."""
    comparer = Comparer(Reader(), store)

    def look() -> None:
        for (pid, pages), content in zip(memory, contents, strict=True):
            comparer.compare(pid, pages, content, unshared=unshared, in_time=lambda: None)

    return look


def _cpu_s(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def speed(sources: Sequence[Source]) -> float:
    """Print how fast each way is; returns the capture's speed over the copy's."""
    memory = pages_there(sources)
    n = sum(len(pages) for _, pages in memory)
    unshared = all(len(never_shared(source, source.mappings())) > 0 for source in sources)
    with ExitStack() as stack:
        ways: dict[str, Callable[[], None]] = {
            f"copy, pieces of {piece * PAGE_SIZE >> 10} KiB": partial(copied, memory, piece) for piece in PIECES
        }
        for what, bytes_in_memory in (("compare", 2 * n * PAGE_SIZE), ("hash", PAGE_SIZE)):
            # Contents that are not in memory are told apart by their hashes.
            store = stack.enter_context(ContentStore(PAGE_SIZE, memory_bytes=bytes_in_memory))
            contents = [np.full(len(pages), -1) for _, pages in memory]
            ways[f"read /proc/PID/mem and {what}"] = compared(memory, contents, store, unshared=False)
            ways[f"read /proc/PID/mem and {what}"]()
            if unshared:
                quick = compared(memory, contents, store, unshared=True)
                ways[f"as a capture of guests: process_vm_readv and {what}"] = quick
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, work in ways.items():
                seconds[way].append(_cpu_s(work))
    print(f"{n:,} pages ({n * PAGE_SIZE >> 20} MiB), CPU time, median of {ROUNDS}:")
    speeds = {way: n * PAGE_SIZE / statistics.median(times) / 1e9 for way, times in seconds.items()}
    for way, gigabytes in speeds.items():
        print(f"  {gigabytes:5.2f} GB/s  {way}")
    copy = max(value for way, value in speeds.items() if way.startswith("copy"))
    how = "as a capture" if unshared else "read"
    ratios = {way.rpartition(" ")[2]: value / copy for way, value in speeds.items() if way.startswith(how)}
    for what, ratio in ratios.items():
        print(f"  to read and {what} runs at {100 * ratio:.0f} % of the quickest copy")
    return min(ratios.values())


def main() -> int:
    """Print both; the exit status says whether both hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guests", type=int, default=4)
    parser.add_argument("--memory", type=int, default=256, help="MiB of each")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--busy", action="store_true", help="start a load in each")
    parser.add_argument("--running", nargs="+", metavar="NAME", help="guests that run already, instead")
    given = parser.parse_args()
    with ExitStack() as stack:
        names = given.running
        if not names:
            install_host_packages()
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="ksmbench-cost-"))
            image = build(cache_folder())
            guests = []
            for number in range(given.guests):  # with names that no other guest has
                guests.append(Guest(image, Path(scratch), f"cost-{os.getpid()}-{number}", given.memory, False))
                stack.callback(guests[-1].end)
            for guest in guests:
                guest.wait_until_ready()
            for number, guest in enumerate(guests if given.busy else ()):
                guest.start_load(LOADS[number % len(LOADS)])
            names = [guest.name for guest in guests]
        share = share_of_a_capture(names, given.seconds)
        ratio = speed(find_guests(names))
    return int(share >= MOST_SHARE or ratio < LEAST_SPEED)


if __name__ == "__main__":
    sys.exit(main())
