"""What processes have in memory, read directly, and what a trace says that they have, played in plain Python."""

import os
from collections import defaultdict
from pathlib import Path

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from tests.capture.child import PAGE

Page = tuple[int, int]  # a space or process id, and a page number


class Played:
    """The pages of all spaces at a trace's end: `frame` numbers the frame of each, `content` what it holds.

    A page that maps the zero page has the frame "zero".
    """

    def __init__(self, trace: Trace) -> None:
        self.frame: dict[Page, int | str] = {}
        self.content: dict[Page, int] = {}
        self.born: set[int] = set()
        self.forks: list[tuple[int, int]] = []  # parent, child
        self.moves: list[tuple[int, int, int, int]] = []  # space, page, count, target
        self._fork_rules: dict[tuple[int, int], set[int]] = defaultdict(set)  # advice in force of each page
        self._n = 0
        for row in zip(*trace.events[:6], strict=True):
            self._play(Kind(row[1]), *map(int, row[2:]))

    def _play(self, kind: Kind, space: int, page: int, n: int, value: int) -> None:
        pages = [(space, p) for p in range(page, page + n)] if n < 1 << 20 else self._of(space, page, page + n)
        if kind in (Kind.UNMAP, Kind.MAP) or (kind == Kind.MADVISE and value == 4):
            self._drop(pages)
            if kind != Kind.MADVISE:
                for p in pages:
                    self._fork_rules.pop(p, None)
        elif kind == Kind.MADVISE and value in (10, 18):
            for p in pages:
                self._fork_rules[p].add(value)
        elif kind == Kind.MADVISE and value in (11, 19):
            for p in pages:
                self._fork_rules[p].discard(value - 1)
        elif kind in (Kind.WRITE, Kind.TOUCH):
            for p in pages:
                self._write(p, value if kind == Kind.WRITE else self.content.get(p, 0))
        elif kind == Kind.READ:
            for p in pages:
                self.frame.setdefault(p, "zero")
                self.content.setdefault(p, 0)
        elif kind == Kind.SHARE:
            for _, p in pages:
                self._copy((value, p), (space, p))
        elif kind == Kind.FORK:
            self.forks.append((space, value))
            for p in [p for s, p in self.frame if s == space]:
                if not self._fork_rules[space, p]:
                    self._copy((space, p), (value, p))
            for s, p in [key for key in self._fork_rules if key[0] == space]:
                self._fork_rules[value, p] = set(self._fork_rules[s, p])
        elif kind == Kind.MOVE:
            self.moves.append((space, page, n, value))
            self._drop([(space, p) for p in range(value, value + n)])
            rules = [self._fork_rules.pop((space, p), set()) for p in range(page, page + n)]
            self._fork_rules.update(((space, p), of) for p, of in enumerate(rules, value))
            for p in self._of(space, page, page + n):
                self._copy(p, (space, p[1] - page + value))
            self._drop(pages)
        elif kind in (Kind.EXIT, Kind.EXEC):
            self._drop([p for p in self.frame if p[0] == space])

    def _of(self, space: int, first: int, end: int) -> list[Page]:
        return [p for p in self.frame if p[0] == space and first <= p[1] < end]

    def _drop(self, pages: list[Page]) -> None:
        for p in pages:
            self.frame.pop(p, None)
            self.content.pop(p, None)

    def _write(self, p: Page, content: int) -> None:
        self._n += 1
        self.frame[p], self.content[p] = self._n, content  # a frame that is its own may as well be a new one

    def _copy(self, source: Page, target: Page) -> None:
        self.frame[target], self.content[target] = self.frame[source], self.content[source]


def truth(pids: list[int], first: int, n: int) -> tuple[dict[Page, int], dict[Page, bytes]]:
    """Return frame number and bytes of each of pages [first, first + n) that is there, by index in `pids`.

    The zero page is among them as any frame.
    """
    frames, contents = {}, {}
    for i, pid in enumerate(pids):
        with (
            open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap,
            open(f"/proc/{pid}/mem", "rb", buffering=0) as mem,
        ):
            entries = os.pread(pagemap.fileno(), 8 * n, 8 * first)
            for k in range(n):
                entry = int.from_bytes(entries[8 * k : 8 * k + 8], "little")
                if entry >> 63:
                    frames[i, first + k] = entry & ((1 << 55) - 1)
                    contents[i, first + k] = os.pread(mem.fileno(), PAGE, (first + k) * PAGE)
    return frames, contents


def groups(values: dict[Page, int | str] | dict[Page, int] | dict[Page, bytes]) -> set[frozenset[Page]]:
    """Return the pages in groups of one value."""
    found: dict[object, set[Page]] = defaultdict(set)
    for page, value in values.items():
        found[value].add(page)
    return {frozenset(pages) for pages in found.values()}


def children_of(pid: int) -> list[int]:
    """Return the ids of its children, in the order of their ids."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
