"""Traces made by hand or by chance: events as plain rows, contents with the prefixes that trees dislike."""

from dataclasses import replace

import numpy as np

from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.schema import FORMAT, VERSION, Kind

BATCH_NS = 20_000_000  # sleep_millisecs 20

Row = tuple[int, int, int, int, int, int]  # time, kind, space, page, count, value

_CONTENT_BYTES = 64  # the first, all others are zero


def make_contents(rng: np.random.Generator, n: int) -> Contents:
    """`n` distinct contents with common prefixes of many lengths; row 0 is the zero page."""
    pages = {bytes(_CONTENT_BYTES)}
    while len(pages) < n:
        length = int(rng.integers(1, _CONTENT_BYTES))
        pages.add(bytes(rng.integers(0, 3, length, dtype=np.uint8)).ljust(_CONTENT_BYTES, b"\0"))
    ranked = sorted(pages)
    lcp = [0]
    for before, after in zip(ranked, ranked[1:], strict=False):
        lcp.append(next(i for i in range(_CONTENT_BYTES) if before[i] != after[i]))
    return Contents(np.array(lcp, np.uint16), np.arange(n, dtype=np.uint32))


def make_trace(
    rows: list[Row],
    contents: Contents,
    names: tuple[str, ...] = (),
    named: dict[int, int] | None = None,
    nodes: dict[int, int] | None = None,
) -> Trace:
    """A trace from rows in order of time; `named` and `nodes` give rows a name and a NUMA node by their numbers."""
    table = np.array(rows, np.int64).reshape(-1, 6)
    n_spaces = 1 + int(max(table[:, 2].max(), table[table[:, 1] == Kind.FORK, 5].max(initial=0)))
    name = np.full(len(table), -1, np.int32)
    for row, number in (named or {}).items():
        name[row] = number
    node = np.zeros(len(table), np.uint8)
    for row, number in (nodes or {}).items():
        node[row] = number
    events = Events(
        time_ns=table[:, 0].copy(),
        kind=table[:, 1].astype(np.uint8),
        space=table[:, 2].astype(np.int32),
        page=table[:, 3].copy(),
        n_pages=table[:, 4].copy(),
        value=table[:, 5].copy(),
        node=node,
        name=name,
    )
    spaces = tuple(Space(None, f"p{i}", "process") for i in range(n_spaces))
    manifest = {"format": FORMAT, "version": VERSION, "page_size": 4096}
    return Trace(manifest, spaces, events, contents, names)


def squeezed(trace: Trace, n_batches: int, sleep_millisecs: int = 20) -> Trace:
    """`trace` in the time of `n_batches`, so that its events fall between batches all the way."""
    events = trace.events
    start, span = int(events.time_ns[0]), int(events.time_ns[-1] - events.time_ns[0])
    part = (events.time_ns - start).astype(float) / max(1, span)
    times = (part * ((n_batches - 1) * sleep_millisecs * 1_000_000)).astype(np.int64)
    return replace(trace, events=events._replace(time_ns=times))


def without_collisions(trace: Trace) -> Trace:
    """`trace` with a checksum of its own for each content, as the bytes that are made up for a kernel have.

    Of real pages about one pair in 90,000 contents has one 32-bit checksum.
    """
    labels = np.arange(len(trace.contents.checksum), dtype=np.uint32)
    return replace(trace, contents=trace.contents._replace(checksum=labels))
