"""A scenario told pass by pass, and what a formula says of the counters at its stations.

`pages_to_scan` exceeds the pages of every scenario, so that one batch of ksmd is one whole pass: batch k, at k times
20 ms, is pass k + 1. A *glance* is a batch with pages_to_scan 0. It scans nothing, so that the row after it shows what
the events before it changed at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature

import numpy as np

from ksmbench.trace.columns import Contents, Trace
from ksmbench.trace.schema import Advice, Kind
from ksmbench.validate.making import BATCH_NS, Row, make_trace

FIRST_PAGE = 0x400000
WHOLE_PASS = 1_000_000  # pages_to_scan: more than any scenario here has
ITEM_BYTES, PAGE_BYTES = 64, 4096  # general_profit charges so much for an rmap_item, and counts so much per page


@dataclass(frozen=True)
class Station:
    """What the counters must be after a batch."""

    batch: int
    told: str
    counters: dict[str, int]


@dataclass(frozen=True)
class Case:
    """A scenario with its parameters filled in."""

    trace: Trace
    stations: tuple[Station, ...]


@dataclass(frozen=True)
class Form:
    """A family of scenarios: `tell` makes one from parameters, `span` are the parameters that tests go through."""

    tell: Callable[..., Case]
    span: tuple[dict[str, int], ...]

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return self.tell.__name__.replace("_", "-")

    @property
    def summary(self) -> str:
        """Its first sentence."""
        return (self.tell.__doc__ or "").split("\n")[0].strip()

    @property
    def defaults(self) -> dict[str, int]:
        """The parameters, each with its default."""
        return {name: parameter.default for name, parameter in signature(self.tell).parameters.items()}


def numbered_contents(n: int) -> Contents:
    """The zero page and `n` others: row i begins with the number i in four bytes, the most significant first."""
    number = np.arange(1, n + 1)
    differing = number ^ (number - 1)
    equal_bytes = np.where(differing < 1 << 8, 3, np.where(differing < 1 << 16, 2, 1))
    lcp = np.concatenate([[0], equal_bytes]).astype(np.uint16)
    return Contents(lcp, np.arange(n + 1, dtype=np.uint32))


class Story:
    """Collects events at the present time, which passes move on, and stations."""

    def __init__(self, **settings: int) -> None:
        self._rows: list[Row] = []
        self._named: dict[int, int] = {}
        self._names: list[str] = []
        self._nodes: dict[int, int] = {}
        self._batches = 0
        self._highest = 0
        self._stations: list[Station] = []
        # Chains are pruned at every look and not by time, so that the running kernel cannot differ by its clock.
        start = {"pages_to_scan": WHOLE_PASS, "smart_scan": 0, "stable_node_chains_prune_millisecs": 0}
        for name, value in {**start, **settings}.items():
            self.tune(name, value)

    def add(self, kind: Kind, space: int, page: int = 0, count: int = 0, value: int = 0) -> None:
        """Any event; pages count from the first of the area."""
        at = FIRST_PAGE + page if count else 0
        self._rows.append((self._batches * BATCH_NS, int(kind), space, at, count, int(value)))

    def tune(self, name: str, value: int) -> None:
        """A store into a file of KSM's."""
        if name not in self._names:
            self._names.append(name)
        self._named[len(self._rows)] = self._names.index(name)
        self.add(Kind.TUNE, 0, value=value)

    def area(self, space: int, count: int, page: int = 0, *, advise: bool = True) -> None:
        """A private anonymous mapping, mergeable where `advise` says so."""
        self.add(Kind.MAP, space, page, count)
        if advise:
            self.add(Kind.MADVISE, space, page, count, Advice.MERGEABLE)

    def write(self, space: int, page: int, content: int, count: int = 1, node: int = 0) -> None:
        """Every page of the range gets the content, from frames of `node`."""
        self._highest = max(self._highest, content)
        self._nodes[len(self._rows)] = node
        self.add(Kind.WRITE, space, page, count, content)

    def passes(self, n: int, told: str, **counters: int) -> None:
        """`n` whole passes; after the last, the counters are these."""
        self._batches += n
        self._stations.append(Station(self._batches - 1, told, counters))

    def glance(self, told: str, **counters: int) -> None:
        """A batch that scans nothing; after it, the counters are these."""
        self.tune("pages_to_scan", 0)
        self.passes(1, told, **counters)
        self.tune("pages_to_scan", WHOLE_PASS)

    def unmerged(self, told: str, **counters: int) -> None:
        """run=2, the counters right after it, and run=1."""
        self.tune("run", 2)
        self.tune("run", 1)
        self.glance(told, **counters)

    def end(self, label: str) -> Case:
        """The scenario up to its last batch."""
        while self._rows[-1][0] >= self._batches * BATCH_NS:  # what a last glance stores back
            self._named.pop(len(self._rows) - 1, None)
            self._rows.pop()
        self._rows.append(((self._batches - 1) * BATCH_NS, int(Kind.MARK), 0, 0, 0, 0))
        trace = make_trace(self._rows, numbered_contents(self._highest), tuple(self._names), self._named, self._nodes)
        named = replace(trace, manifest=trace.manifest | {"label": label})
        return Case(named, tuple(self._stations))
