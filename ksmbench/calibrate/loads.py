"""The loads that isolate the steps of ksmd: each makes much of some work and little of the rest."""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ksmbench.calibrate.measuring import Load
from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.schema import Advice, Kind

Numbers = int | npt.NDArray[np.int64]
FIRST_PAGE = 0x400000
BATCH_NS = 20_000_000
SPOILED = 64 << 20  # bytes that others use between batches: twice what most last caches hold
PLAIN = {"smart_scan": 0, "stable_node_chains_prune_millisecs": 4294967295}


def prefixes(n: int, shared: int) -> npt.NDArray[np.uint16]:
    """lcp of the zero page and `n` contents after it, neighbours of which share `shared` bytes and some more.

    No 255 of them branch off at one place, so that bytes for them can be made.
    """
    height = np.array([int(i & -i).bit_length() for i in range(1, n + 1)], np.int64)
    lcp = shared + 8 - height
    lcp[:1] = 0
    return np.concatenate([[0], np.clip(lcp, 0, 4095)]).astype(np.uint16)


@dataclass
class Recipe:
    """Events of processes, one after the other, that become a trace."""

    lcp: npt.NDArray[np.uint16]
    spaces: int = 1
    rows: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def add(self, time_ns: int, kind: Kind, space: int, page: Numbers, count: Numbers = 1, value: Numbers = 0) -> None:
        """Events of one kind: `page`, `count` and `value` are numbers or arrays of one length."""
        columns = np.broadcast_arrays(time_ns, int(kind), space, page, count, value)
        self.rows.append(np.column_stack([np.atleast_1d(column).astype(np.int64) for column in columns]))

    def hold(self, values: npt.NDArray[np.int64], *, time_ns: int = 0, space: int = 0, first: int = FIRST_PAGE) -> None:
        """A mergeable mapping that holds these contents."""
        self.add(time_ns, Kind.MAP, space, first, len(values))
        self.add(time_ns, Kind.MADVISE, space, first, len(values), int(Advice.MERGEABLE))
        self.write(values, time_ns=time_ns, space=space, first=first)

    def write(self, values: npt.NDArray[np.int64], *, time_ns: int, space: int = 0, first: int = FIRST_PAGE) -> None:
        """Write these contents from the page `first` on."""
        self.add(time_ns, Kind.WRITE, space, first + np.arange(len(values)), 1, values)

    def trace(self) -> Trace:
        """What became of it."""
        table = np.concatenate(self.rows)
        table = table[np.argsort(table[:, 0], kind="stable")]
        n = len(table)
        events = Events(
            time_ns=np.ascontiguousarray(table[:, 0]),
            kind=table[:, 1].astype(np.uint8),
            space=table[:, 2].astype(np.int32),
            page=np.ascontiguousarray(table[:, 3]),
            n_pages=np.ascontiguousarray(table[:, 4]),
            value=np.ascontiguousarray(table[:, 5]),
            node=np.zeros(n, np.uint8),
            name=np.full(n, -1, np.int32),
        )
        contents = Contents(self.lcp, np.arange(len(self.lcp), dtype=np.uint32))
        spaces = tuple(Space(None, f"p{i}", "process") for i in range(self.spaces))
        return Trace({"page_size": 4096}, spaces, events, contents)


def _distinct(rng: np.random.Generator, n: int, shared: int = 24) -> Trace:
    # n pages without equals, in random order.
    recipe = Recipe(prefixes(n, shared))
    recipe.hold(rng.permutation(n) + 1)
    return recipe.trace()


def _sparse(rng: np.random.Generator, n: int, stride: int) -> Trace:
    # One page in `stride` is there: the walk passes the other entries of the page tables.
    recipe = Recipe(prefixes(n, 24))
    recipe.add(0, Kind.MAP, 0, FIRST_PAGE, n * stride)
    recipe.add(0, Kind.MADVISE, 0, FIRST_PAGE, n * stride, int(Advice.MERGEABLE))
    recipe.add(0, Kind.WRITE, 0, FIRST_PAGE + stride * np.arange(n), 1, rng.permutation(n) + 1)
    return recipe.trace()


def _copies(rng: np.random.Generator, n_contents: int, copies: int) -> Trace:
    recipe = Recipe(prefixes(n_contents, 24))
    recipe.hold(rng.permutation(np.tile(np.arange(n_contents) + 1, copies)))
    return recipe.trace()


def _both_trees(rng: np.random.Generator, n: int) -> Trace:
    # n pairs, and as many pages without equals.
    recipe = Recipe(prefixes(2 * n, 24))
    pairs = np.arange(n) + 1
    recipe.hold(rng.permutation(np.concatenate([pairs, pairs, pairs + n])))
    return recipe.trace()


def _changing(rng: np.random.Generator, n: int, passes: int) -> Trace:
    # Every page is another before each pass: checksums alone.
    recipe = Recipe(prefixes(2 * n, 24))
    values = rng.permutation(2 * n) + 1
    recipe.hold(values[:n])
    for i in range(1, passes):
        recipe.write(values[n:] if i % 2 else values[:n], time_ns=i * BATCH_NS - 1)
    return recipe.trace()


def _coming_and_going(rng: np.random.Generator, n: int, passes: int) -> Trace:
    # Pages that are unmapped after one pass and new ones after the next: items made and freed.
    recipe = Recipe(prefixes(n + 100, 24))
    values = rng.permutation(n + 100) + 1
    recipe.hold(values[n:], first=FIRST_PAGE - 1000)
    for i in range(0, passes, 2):
        recipe.hold(values[:n], time_ns=i * BATCH_NS)
        recipe.add((i + 1) * BATCH_NS - 1, Kind.UNMAP, 0, FIRST_PAGE, n)
    return recipe.trace()


def _rewritten_copies(rng: np.random.Generator, n: int, passes: int) -> Trace:
    # Pairs that merge, then are written to: stale nodes, and merges again.
    recipe = Recipe(prefixes(2 * n, 24))
    values = rng.permutation(2 * n) + 1
    recipe.hold(np.tile(values[:n], 2))
    for i in range(2, passes, 2):
        recipe.write(np.tile(values[n:] if i % 4 else values[:n], 2), time_ns=i * BATCH_NS - 1)
    return recipe.trace()


def _forks(rng: np.random.Generator, n: int, children: int) -> Trace:
    # Children of a process with merged pages: searches of the stable tree that end at once, without a checksum.
    recipe = Recipe(prefixes(n, 24), spaces=1 + children)
    recipe.hold(np.tile(rng.permutation(n) + 1, 2))
    for i in range(children):
        recipe.add((3 + i) * BATCH_NS - 1, Kind.FORK, 0, 0, 0, 1 + i)
    return recipe.trace()


def calibration_loads(quick: bool = False) -> list[Load]:
    """What `ksmbench calibrate` plays in each of its rounds; `quick`: a quarter of the pages at most."""
    rng = np.random.default_rng(1)
    part = 4 if quick else 1

    def cold(one: Load) -> Load:
        return replace(one, name=f"{one.name}, cold", spoiled=SPOILED)

    def load(name: str, trace: Trace, passes: int, pages: int, budget: int = 4000, **settings: int) -> Load:
        # A batch never crosses the end of a pass: `pages` scanned take so many batches.
        batches = passes * (pages // budget + 1)
        return Load(name, trace, batches, PLAIN | {"pages_to_scan": budget} | settings)

    few, some, many, most = 500, 2000, 8000 // part, 30_000 // part
    late = 20_000 // part
    found = [
        load("500 distinct", _distinct(rng, few), 10, few),
        load("2,000 distinct", _distinct(rng, some), 10, some),
        load("8,000 distinct", _distinct(rng, many), 8, many),
        load("30,000 distinct", _distinct(rng, most), 4, most),
        load("differ after 200 bytes", _distinct(rng, late, 200), 4, late),
        load("differ after 1,500 bytes", _distinct(rng, late, 1500), 4, late),
        load("differ after 4,000 bytes", _distinct(rng, late, 4000), 4, late),
        load("4,000 contents 15 times", _copies(rng, 4000 // part, 15), 3, 60_000 // part),
        load("20,000 contents 3 times", _copies(rng, late, 3), 3, 3 * late),
        load("pairs and distinct", _both_trees(rng, late), 4, 3 * late),
        load("one page in 64", _sparse(rng, many, 64), 4, many),
        load("one page in 512", _sparse(rng, some, 512), 4, some),
        load("batches of 10", _distinct(rng, some), 3, some, 10),
        load("batches of 100", _distinct(rng, some), 10, some, 100),
        cold(load("batches of 100", _distinct(rng, many), 3, many, 100)),
        cold(load("batches of 1,000", _distinct(rng, late), 4, late, 1000)),
        cold(load("copies in batches of 300", _copies(rng, 4000 // part, 5), 4, late, 300)),
        load("smart scan", _distinct(rng, most), 12, most, smart_scan=1),
        load("changing", _changing(rng, many, 10), 10, many, many + 1),
        load("coming and going", _coming_and_going(rng, late, 8), 8, late, late + 101),
        load("copies rewritten", _rewritten_copies(rng, many, 8), 8, 2 * many, 2 * many + 1),
        load("forks", _forks(rng, 5000 // part, 5), 12, 1, 60_000),
    ]
    if not quick:
        found.append(load("150,000 distinct", _distinct(rng, 150_000), 3, 150_000))
    return found
