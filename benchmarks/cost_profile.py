"""Measures what ksmd's work costs on this host, as constants for `ksmbench.engine.cost`.

    python -m benchmarks.cost_profile

Plays a few synthetic traces on the running kernel and explains ksmd's CPU time per batch by what the engine counts for
the same batch (it counts the same as the kernel): least squares without negative prices. Needs root.
"""

import json
import os
import sys

import numpy as np
import numpy.typing as npt

from ksmbench.engine.counters import SAMPLED
from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.schema import Advice, Kind
from ksmbench.validate.agreement import replay_batches
from ksmbench.validate.kernel import play_on_kernel

COUNTED = ("pages_scanned", "pages_skipped", "checksums", "comparisons", "compared_bytes", "merges")
PRICES = ("batch_ns", "scanned_ns", "skipped_ns", "checksum_ns", "comparison_ns", "compared_kib_ns", "merge_ns")
FIRST_PAGE = 0x400000


def one_process(values: npt.NDArray[np.int64], lcp: npt.NDArray[np.uint16]) -> Trace:
    """A mergeable mapping that holds these contents from the start."""
    n = len(values)
    kind = np.full(n + 2, Kind.WRITE, np.uint8)
    kind[:2] = Kind.MAP, Kind.MADVISE
    count = np.ones(n + 2, np.int64)
    count[:2] = n
    zeros = np.zeros(n + 2, np.int64)
    events = Events(
        time_ns=zeros,
        kind=kind,
        space=zeros.astype(np.int32),
        page=np.concatenate([[FIRST_PAGE] * 2, FIRST_PAGE + np.arange(n)]),
        n_pages=count,
        value=np.concatenate([[0, Advice.MERGEABLE], values]),
        node=zeros.astype(np.uint8),
        name=np.full(n + 2, -1, np.int32),
    )
    contents = Contents(lcp, np.arange(len(lcp), dtype=np.uint32))
    return Trace({"page_size": 4096}, (Space(None, "p", "process"),), events, contents)


def _prefixes(rng: np.random.Generator, n: int, shared: int) -> npt.NDArray[np.uint16]:
    # Contents whose neighbours share `shared` bytes and some more, and of which no 255 branch off at one place.
    lcp = shared + 8 + np.array([int(i & -i).bit_length() for i in range(1, n + 1)], np.int64) * -1
    lcp[:1] = 0
    return np.concatenate([[0], np.clip(lcp, 0, 4095)]).astype(np.uint16)[: n + 1]


def workloads() -> list[tuple[str, Trace, dict[str, int], int]]:
    """Name, trace, settings, batches."""
    rng = np.random.default_rng(1)
    plain = {"smart_scan": 0, "stable_node_chains_prune_millisecs": 4294967295}
    distinct = one_process(rng.permutation(60_000) + 1, _prefixes(rng, 60_000, 24))
    late = one_process(rng.permutation(20_000) + 1, _prefixes(rng, 20_000, 4000))
    middle = one_process(rng.permutation(20_000) + 1, _prefixes(rng, 20_000, 1500))
    copies = one_process(rng.integers(1, 4001, 60_000), _prefixes(rng, 4000, 24))
    few = one_process(rng.permutation(2000) + 1, _prefixes(rng, 2000, 24))
    return [
        ("distinct pages", distinct, plain | {"pages_to_scan": 10_000}, 30),
        ("distinct pages, smart scan", distinct, plain | {"pages_to_scan": 10_000, "smart_scan": 1}, 60),
        ("pages that differ late", late, plain | {"pages_to_scan": 5_000}, 20),
        ("pages that differ in the middle", middle, plain | {"pages_to_scan": 5_000}, 20),
        ("copies", copies, plain | {"pages_to_scan": 5_000}, 50),
        ("small batches", few, plain | {"pages_to_scan": 10}, 600),
        ("default batches", few, plain | {"pages_to_scan": 100}, 200),
    ]


def prices(work: npt.NDArray[np.float64], spent: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Least squares of relative errors without negative prices: the most negative one is left out, again and again."""
    weight = 1 / np.maximum(spent, 1.0)
    kept = list(range(work.shape[1]))
    while True:
        found = np.linalg.lstsq(work[:, kept] * weight[:, None], spent * weight, rcond=None)[0]
        if (found >= 0).all() or len(kept) == 1:
            result = np.zeros(work.shape[1])
            result[kept] = np.maximum(found, 0)
            return result
        kept.pop(int(np.argmin(found)))


def main() -> int:
    """Print the profile as JSON, and how well it explains each workload."""
    works, times, names = [], [], []
    for name, trace, settings, n_batches in workloads():
        rows = replay_batches(trace, "ksm-6.18", settings, n_batches=n_batches).samples
        played = play_on_kernel(trace, n_batches=n_batches, **settings)
        counts = np.diff(rows.select(COUNTED).to_numpy().astype(float), axis=0, prepend=0.0)
        counts[:, COUNTED.index("compared_bytes")] /= 1024
        works.append(np.column_stack([np.ones(n_batches), counts]))
        times.append(np.array(played.ksmd_cpu_ns, float))
        names.append(name)
        print(f"{name}: {times[-1].sum() / max(1, counts[:, 0].sum()):,.0f} ns per page scanned", file=sys.stderr)
        assert played.samples["pages_scanned"].to_list() == rows["pages_scanned"].to_list()
    found = prices(np.vstack(works), np.concatenate(times))
    for name, work, spent in zip(names, works, times, strict=True):
        print(f"{name}: explained {100 * (work @ found).sum() / spent.sum():.0f} % of the time", file=sys.stderr)
    profile = {"name": os.uname().nodename, "source": "benchmarks/cost_profile.py", "hz": 250}
    profile |= {price: round(float(value), 1) for price, value in zip(PRICES, found, strict=True)}
    print(json.dumps(profile, indent=2))
    return 0


if __name__ == "__main__":
    assert set(COUNTED) <= set(SAMPLED)
    sys.exit(main())
