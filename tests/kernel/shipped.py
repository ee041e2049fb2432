"""Plays a trace of real guests on the running kernel and compares every counter after every batch with the engine's.

python -m tests.kernel.shipped traces/debian-idle-x4 --batches 600 --pages-to-scan 2000
"""

import argparse
import sys
from dataclasses import replace

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.store import open_trace
from ksmbench.validate.agreement import agree
from tests.kernel.scenarios import BATCH_NS


def squeezed(trace: Trace, n_batches: int) -> Trace:
    """The trace in the time of `n_batches`, so that its events fall between batches all the way.

    Different contents that have one 32-bit checksum (about one pair in 90,000 contents) get checksums of their own, as
    the bytes that are made for the kernel have.
    """
    events = trace.events
    start, span = int(events.time_ns[0]), int(events.time_ns[-1] - events.time_ns[0])
    part = (events.time_ns - start).astype(float) / max(1, span)
    contents = trace.contents._replace(checksum=np.arange(len(trace.contents.checksum), dtype=np.uint32))
    times = (part * (n_batches - 1) * BATCH_NS).astype(np.int64)
    return replace(trace, events=events._replace(time_ns=times), contents=contents)


def main() -> int:
    """Print what was compared and what differed; the exit status says whether anything did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace")
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--pages-to-scan", type=int, default=2000)
    parser.add_argument("--use-zero-pages", type=int, default=0)
    parser.add_argument("--frames", action="store_true")
    options = parser.parse_args()
    trace = squeezed(open_trace(options.trace), options.batches)
    settings = {"pages_to_scan": options.pages_to_scan, "use_zero_pages": options.use_zero_pages}
    settings |= {"stable_node_chains_prune_millisecs": 0}
    result = agree(trace, settings, n_batches=options.batches, frames=options.frames)
    end = result.ours.samples.row(-1, named=True)
    print(f"{options.batches} batches, {result.first or 'no difference'}; at the end {end}")
    return int(result.differs)


if __name__ == "__main__":
    sys.exit(main())
