"""How fast the engine scans, against the kernel's ksmd on the same pages in the same run.

    python -m benchmarks.scan_distinct [--pages 500000]

One process holds pages of distinct random content. From the second scan on each page goes through both trees: the
stable one, which is empty, and the unstable one, which holds all pages before it. Needs root, and about 5 GiB for
500,000 pages. The engine and ksmd must also agree in every counter.
"""

import argparse
import mmap
import os
import sys
import time

import numpy as np

from ksmbench import designs
from ksmbench.engine.counters import SAMPLED
from ksmbench.engine.drive import Timing
from ksmbench.engine.plan import make_plan
from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.schema import Advice, Kind
from ksmbench.validate.kernel import play_on_kernel

FIRST_PAGE = 0x400000
BATCH_NS = 20_000_000
SETTINGS = {"pages_to_scan": 100_000_000, "smart_scan": 0}
N_SCANS = 4


def random_pages(n: int) -> tuple[int, Contents]:
    """`n` distinct random pages after the zero page, in the order of their bytes, and what a trace says of them.

    The pages are in a file in memory, whose descriptor is returned.
    """
    rng = np.random.default_rng(7)
    file = os.memfd_create("pages")
    os.ftruncate(file, (n + 1) * mmap.PAGESIZE)
    memory = mmap.mmap(file, (n + 1) * mmap.PAGESIZE)
    pages = np.frombuffer(memory, np.uint64).reshape(n + 1, -1)
    for start in range(1, n + 1, 8192):
        part = pages[start : start + 8192]
        part[:] = rng.integers(0, 1 << 64, part.shape, np.uint64)
    keys = np.unique(rng.integers(1, 1 << 64, n + n // 8, np.uint64))
    keys = np.sort(rng.choice(keys, n, replace=False))
    pages[1:, 0] = keys.byteswap()
    differs = np.zeros(n + 1, np.uint64)
    differs[2:] = keys[1:] ^ keys[:-1]
    lcp = sum((differs < np.uint64(1 << (64 - 8 * shared))).astype(np.uint16) for shared in range(1, 8))
    lcp[:2] = 0
    if n and int(keys[0]) >> 56 == 0:
        lcp[1] = next(i for i in range(8) if int(keys[0]) >> (56 - 8 * i))
    return file, Contents(np.ascontiguousarray(lcp, np.uint16), np.arange(n + 1, dtype=np.uint32))


def one_process(contents: Contents) -> Trace:
    """A mergeable mapping with every content once, in random order."""
    n = len(contents.lcp) - 1
    order = np.random.default_rng(8).permutation(n) + 1
    kind = np.full(n + 2, Kind.WRITE, np.uint8)
    kind[:2] = Kind.MAP, Kind.MADVISE
    page = np.concatenate([[FIRST_PAGE] * 2, FIRST_PAGE + np.arange(n)])
    count = np.ones(n + 2, np.int64)
    count[:2] = n
    value = np.concatenate([[0, Advice.MERGEABLE], order])
    zeros = np.zeros(n + 2, np.int64)
    events = Events(
        zeros, kind, zeros.astype(np.int32), page, count, value, zeros.astype(np.uint8), np.full(n + 2, -1, np.int32)
    )
    return Trace({"page_size": mmap.PAGESIZE}, (Space(None, "random", "process"),), events, contents)


def engine_replay(trace: Trace, batches: int) -> tuple[float, np.ndarray]:
    """CPU seconds of a replay of so many batches, each a full scan, and its rows."""
    plan = make_plan(trace)
    design = designs.find(designs.DEFAULT)
    settings = designs.encoded(design, designs.complete_settings(design, SETTINGS))
    timing = Timing(start_ns=0, until_ns=BATCH_NS * (batches - 1), every_batch=True)
    begin = time.process_time()
    rows = design.run(trace, plan, settings, timing).rows
    return time.process_time() - begin, rows


def engine_scan(trace: Trace) -> float:
    """CPU seconds of one full scan through both trees: the mean of N_SCANS, without the first scan and the events."""
    return (engine_replay(trace, 1 + N_SCANS)[0] - engine_replay(trace, 1)[0]) / N_SCANS


def main() -> int:
    """Print nanoseconds per page for both, and their ratio; the exit status says whether the counters agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=500_000)
    n = parser.parse_args().pages
    file, contents = random_pages(n)
    trace = one_process(contents)
    engine_replay(one_process(Contents(contents.lcp[:100], contents.checksum[:100])), 1)  # compile
    before = engine_scan(trace)
    played = play_on_kernel(trace, n_batches=1 + N_SCANS, pages=file, **SETTINGS)
    after = engine_scan(trace)
    ksmd = float(np.mean(played.ksmd_cpu_ns[1:])) / n
    engine = (before + after) / 2 / n * 1e9
    print(f"{n:,} distinct random pages, full scans through both trees, CPU per page (mean of {N_SCANS} scans):")
    print(f"  ksmd    {ksmd:7.0f} ns   ({', '.join(f'{ns / n:.0f}' for ns in played.ksmd_cpu_ns[1:])})")
    print(f"  engine  {engine:7.0f} ns   (before ksmd {before / n * 1e9:.0f}, after {after / n * 1e9:.0f})")
    print(f"  ksmd / engine = {ksmd / engine:.1f}")
    rows = engine_replay(trace, 1 + N_SCANS)[1]
    theirs = played.samples
    differ = [
        name
        for column, name in enumerate(SAMPLED)
        if name in theirs.columns and theirs[name].to_list() != rows[:, 1 + column].tolist()
    ]
    print(f"  counters that differ after any batch: {', '.join(differ) or 'none'}")
    return int(bool(differ))


if __name__ == "__main__":
    sys.exit(main())
