"""Collects the events of a workload in any order, and makes a trace of them."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.schema import FORMAT, VERSION, Advice, Kind

FIRST_PAGE = 0x400000
GROUP = (
    2  # contents that agree in their first 104 bytes: half of all agree that far with the one before, as in real guests
)
_GROUP_PREFIX = 104
Ints = npt.NDArray[np.int64]


def summary_of(workload: object) -> str:
    """The first sentence about a workload, which begins in the middle of one."""
    first = (workload.__doc__ or "").split("\n")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _common_bytes(n: int, width: int = 4) -> Ints:
    # Of the numbers 1 .. n in `width` bytes, the most significant first, each with the number before it.
    number = np.arange(1, n + 1)
    differing = number ^ (number - 1)
    bytes_differing = 1 + sum((differing >= 1 << 8 * k).astype(np.int64) for k in range(1, width))
    return width - bytes_differing


def grouped_contents(n: int, group: int = GROUP, prefix: int = _GROUP_PREFIX) -> Contents:
    """The zero page and `n` contents in groups: the group's number in four bytes, equal bytes, the member's in four.

    Members of a group have `prefix` bytes in common, and those of their numbers.
    """
    rows = np.arange(n)
    between = _common_bytes(n // group + 1)[rows // group]
    within = prefix + _common_bytes(group)[rows % group]
    lcp = np.where(rows % group == 0, between, within)
    return Contents(np.concatenate([[0], lcp]).astype(np.uint16), np.arange(n + 1, dtype=np.uint32))


def tailed_contents(n: int, tail: int = 8) -> Contents:
    """The zero page and `n` contents that are zero but for a number in their last `tail` bytes."""
    lcp = 4096 - tail + _common_bytes(n, tail)
    return Contents(np.concatenate([[0], lcp]).astype(np.uint16), np.arange(n + 1, dtype=np.uint32))


class Story:
    """The events of a workload. Events of one time happen in the order in which they were told."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._parts: list[Ints] = []
        self._spaces: list[Space] = []
        self._names: list[str] = []
        self._n_contents = 0
        self.mark(0.0, "begin")  # ksmd starts at the first event

    def space(self, name: str, kind: str = "process") -> int:
        """A new address space; its pid is its number and 1,000."""
        self._spaces.append(Space(1000 + len(self._spaces), name, kind))
        return len(self._spaces) - 1

    def contents(self, n: int) -> Ints:
        """`n` contents that occur nowhere else; where they stand among the others is decided at the end."""
        first = 1 + self._n_contents
        self._n_contents += n
        return np.arange(first, first + n)

    def chosen(self, pool: Ints, part: float, n: int) -> Ints:
        """`n` contents: each with probability `part` one of `pool`, else one that occurs nowhere else."""
        result = self.rng.choice(pool, n)
        own = self.rng.random(n) >= part
        result[own] = self.contents(int(own.sum()))
        return result

    def _add(self, seconds: Any, kind: Kind, space: int, page: Any, count: int, value: Any, name: int = -1) -> None:
        columns = np.broadcast_arrays(np.round(np.asarray(seconds) * 1e9), int(kind), space, page, count, value, name)
        self._parts.append(np.column_stack([np.atleast_1d(column) for column in columns]).astype(np.int64))

    def _name(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)

    def tune(self, seconds: float, name: str, value: int) -> None:
        """A store into a file of KSM's."""
        self._add(seconds, Kind.TUNE, 0, 0, 0, value, self._name(name))

    def mark(self, seconds: float, name: str) -> None:
        """A label."""
        self._add(seconds, Kind.MARK, 0, 0, 0, 0, self._name(name))

    def area(self, seconds: float, space: int, page: int, count: int, *, asks: bool = True) -> None:
        """A private anonymous mapping, which asks for merging or does not."""
        self._add(seconds, Kind.MAP, space, page, count, 0)
        if asks:
            self.advise(seconds, space, page, count)

    def advise(self, seconds: float, space: int, page: int, count: int, advice: Advice = Advice.MERGEABLE) -> None:
        """madvise(2) on a range."""
        self._add(seconds, Kind.MADVISE, space, page, count, int(advice))

    def unmap(self, seconds: float, space: int, page: int, count: int) -> None:
        """munmap(2) of a range."""
        self._add(seconds, Kind.UNMAP, space, page, count, 0)

    def move(self, seconds: float, space: int, page: int, count: int, target: int) -> None:
        """mremap(2) of a range to another place."""
        self._add(seconds, Kind.MOVE, space, page, count, target)

    def write(self, seconds: Any, space: int, pages: Any, contents: Any) -> None:
        """Pages one by one get contents; of times, pages and contents each is a number or an array."""
        self._add(seconds, Kind.WRITE, space, pages, 1, contents)

    def touch(self, seconds: Any, space: int, pages: Any) -> None:
        """Pages one by one are written with the bytes that they hold."""
        self._add(seconds, Kind.TOUCH, space, pages, 1, 0)

    def fill(self, seconds: Any, space: int, page: int, contents: Ints) -> None:
        """The pages from `page` on get these contents."""
        self.write(seconds, space, page + np.arange(len(contents)), contents)

    def fork(self, seconds: float, space: int, name: str) -> int:
        """A child of `space`."""
        child = self.space(name)
        self._add(seconds, Kind.FORK, space, 0, 0, child)
        return child

    def exit(self, seconds: float, space: int) -> None:
        """The space ends."""
        self._add(seconds, Kind.EXIT, space, 0, 0, 0)

    def times(self, start: float, end: float, every: float) -> npt.NDArray[np.float64]:
        """Random times from `start` to `end`, one each `every` seconds on average."""
        n = self.rng.poisson(max(0.0, end - start) / every)
        return np.sort(self.rng.uniform(start, end, n))

    def end(
        self,
        seconds: float,
        label: str,
        notes: str,
        parameters: Any = None,
        bytes_of: Callable[[int], Contents] = grouped_contents,
    ) -> Trace:
        """The trace of what was told, up to `seconds`; `bytes_of` says what so many contents have in common."""
        self.mark(seconds, "end")
        table = np.concatenate(self._parts)
        self._parts = []
        table = table[np.argsort(table[:, 0], kind="stable")]
        # Which content is larger than which has nothing to do with when it was made.
        rank = np.concatenate([[0], 1 + self.rng.permutation(self._n_contents)])
        writes = table[:, 1] == Kind.WRITE
        table[writes, 5] = rank[table[writes, 5]]
        events = Events(
            time_ns=table[:, 0].copy(),
            kind=table[:, 1].astype(np.uint8),
            space=table[:, 2].astype(np.int32),
            page=table[:, 3].copy(),
            n_pages=table[:, 4].copy(),
            value=table[:, 5].copy(),
            node=np.zeros(len(table), np.uint8),
            name=table[:, 6].astype(np.int32),
        )
        manifest = {"format": FORMAT, "version": VERSION, "page_size": 4096, "label": label, "notes": notes}
        if parameters is not None:
            manifest["synthetic"] = asdict(parameters)
        return Trace(manifest, tuple(self._spaces), events, bytes_of(self._n_contents), tuple(self._names))
