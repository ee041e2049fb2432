"""A trace of a few equal machines, made in memory: part of their pages alike, and some written again and again."""

import numpy as np

from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.schema import Kind

_BASE = 1 << 18
_MERGEABLE = 12


def synthetic_trace(n_spaces: int = 4, n_pages: int = 5000, seconds: int = 120, seed: int = 1) -> Trace:
    """`n_spaces` machines of `n_pages` pages: half from a common image, some zero, the rest their own.

    Pages start at time 0 and 1 % of them are written every second, also ones that could be merged.
    """
    rng = np.random.default_rng(seed)
    n_contents = n_pages * (n_spaces + 2)
    image = rng.integers(1, n_contents, n_pages)
    rows: list[tuple[int, int, int, int, int, int]] = []
    for space in range(n_spaces):
        rows.append((0, Kind.MAP, space, _BASE, n_pages, 0))
        rows.append((0, Kind.MADVISE, space, _BASE, n_pages, _MERGEABLE))
        own = rng.integers(1, n_contents, n_pages)
        content = np.where(rng.random(n_pages) < 0.5, image, own)
        content[rng.random(n_pages) < 0.1] = 0
        rows += [(0, Kind.WRITE, space, _BASE + i, 1, int(content[i])) for i in range(n_pages)]
    for second in range(1, seconds + 1):
        for space in range(n_spaces):
            pages = rng.choice(n_pages, max(1, n_pages // 100), replace=False)
            rows += [
                (second * 10**9, Kind.WRITE, space, _BASE + int(page), 1, int(rng.integers(1, n_contents)))
                for page in pages
            ]
    time_ns, kind, space_of, page_of, count, value = (np.array(column) for column in zip(*rows, strict=True))
    events = Events(
        time_ns.astype(np.int64),
        kind.astype(np.uint8),
        space_of.astype(np.int32),
        page_of.astype(np.int64),
        count.astype(np.int64),
        value.astype(np.int64),
        np.zeros(len(rows), np.uint8),
        np.full(len(rows), -1, np.int32),
    )
    lcp = rng.integers(0, 64, n_contents).astype(np.uint16)
    lcp[0] = 0
    contents = Contents(lcp, rng.permutation(n_contents).astype(np.uint32))
    spaces = tuple(Space(1000 + i, f"vm-{i}", "vm") for i in range(n_spaces))
    manifest = {"format": "ksmbench-trace", "version": 1, "page_size": 4096, "label": "synthetic machines"}
    return Trace(manifest, spaces, events, contents)
