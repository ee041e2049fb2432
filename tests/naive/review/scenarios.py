"""Random scenarios for the designs of 2009: few contents, calm times in which pages merge, and storms in between.

A storm rewrites, forks (children of children), moves, unmaps, takes advice back, exits, execs, shares and stores into
ksmd's files. Mappings are larger than what is written in them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import HUGE_PAGES, Advice, Kind, Mapping
from ksmbench.validate.making import Row, make_contents, make_trace

STEP_NS = 5_000_000
MAX_SPACES = 9
_FIRST = 0x400000
_AREA_STEP = 0x1000
_AREA_PAGES = 40
_N_AREAS = 3

_STORES: dict[str, tuple[int, ...]] = {
    "run": (0, 0, 1, 1, 1, 1, 1, 2, 3, -1, 1 << 32),
    "pages_to_scan": (0, 1, 5, 13, 40, 150, -1, 1 << 32),
    "sleep_millisecs": (10, 20, 40, -1),
    "sleep": (0, 0, 7_300, 30_000, -1, 1 << 32),
    "max_kernel_pages": (0, 0, 0, 1, 2, 4, 8, -1, 1 << 40),
    "merge_pid": (0, 1, 2, 3, 5, 8, 77, -1),
    "unmerge_pid": (0, 1, 2, 3, 5, 8, 77, -1),
    "callbacks": (0, 3),
    "no_such_file": (1,),
}
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "devksm-2009": {"fd": ("exit", "inherited", "inherited", "held")},
    "madvise-rfc-2009": {},
    "ksm-rollup-2009": {"list": ("mm", "vma", "vma")},
    "ksm-2.6.32": {},
}
_CALLBACKS = ("fork", "exit", "mremap", "munmap")


class Scenario(NamedTuple):
    """What engine and twin replay."""

    trace: Trace
    settings: dict[str, int | str]
    asking: frozenset[int]  # spaces that ask for everything, as if


class _Weather:
    """Writes events; `alive` are the spaces that live."""

    def __init__(self, seed: int, number: int) -> None:
        self.rng = np.random.default_rng([seed, number, 2009])
        self.contents = make_contents(self.rng, self.pick(2, 3, 6, 12, 24, 48))
        self.rows: list[Row] = []
        self.names = tuple(_STORES)
        self.named: dict[int, int] = {}
        self.time = 0
        self.sorts, self.sort = 1, 0
        self.alive: list[int] = []
        self.n_spaces = 0
        self.used: dict[int, list[tuple[int, int]]] = {}  # space -> ranges that it was given
        verbs = [verb for name, verb in sorted(vars(_Weather).items()) if name.startswith("do_")]
        likes = self.rng.random(len(verbs)) ** 2  # every scenario likes some verbs more than others
        self.verbs = verbs
        self.likes = likes / likes.sum()

    def pick(self, *values: int) -> int:
        return int(self.rng.choice(values))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def add(self, kind: int, space: int, page: int = 0, count: int = 0, value: int = 0) -> None:
        self.rows.append((self.time, int(kind), space, page, count, int(value)))

    def content(self) -> int:
        n = len(self.contents.lcp)
        return int(self.rng.integers(n)) // self.sorts * self.sorts % n

    def new_content(self) -> int:
        """One of the present sort, which the others are not."""
        return min(self.content() + self.sort, len(self.contents.lcp) - 1)

    def anywhere(self) -> tuple[int, int]:
        """Any range, mapped or not."""
        area, start = int(self.rng.integers(_N_AREAS)), int(self.rng.integers(_AREA_PAGES))
        return _FIRST + area * _AREA_STEP + start, int(self.rng.integers(1, 1 + self.pick(1, 4, 16, _AREA_PAGES)))

    def part(self, space: int) -> tuple[int, int]:
        """A part of what the space was given, or all of one range; rarely any range."""
        ranges = self.used.get(space)
        if not ranges or self.chance(0.08):
            return self.anywhere()
        page, count = ranges[int(self.rng.integers(len(ranges)))]
        if self.chance(0.35):
            return page, count
        start = int(self.rng.integers(count))
        return page + start, min(count - start, self.pick(1, 1, 2, 5, 12))

    def new_space(self) -> int:
        self.alive.append(self.n_spaces)
        self.n_spaces += 1
        return self.n_spaces - 1

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def do_map(self, space: int) -> None:
        page, count = self.part(space) if self.chance(0.25) else self.anywhere()
        self.add(Kind.MAP, space, page, count, self.pick(*[Mapping.ANONYMOUS] * 8, Mapping.FILE, Mapping.NEVER))
        self.used.setdefault(space, []).append((page, count))
        if self.chance(0.9):
            self.add(Kind.MADVISE, space, page, count, Advice.MERGEABLE)
        for _ in range(self.pick(0, 1, 1, 2, 4)):
            self.do_write(space)

    def do_write(self, space: int) -> None:
        self.add(Kind.WRITE, space, *self.part(space), self.content())

    def do_rewrite_all(self, space: int) -> None:
        content = self.content()
        for page, count in self.used.get(space, []):
            self.add(Kind.WRITE, space, page, count, content)
            if self.chance(0.5):
                content = self.content()

    def do_scatter(self, space: int) -> None:
        page, count = self.part(space)
        for k in range(count):
            self.add(Kind.WRITE, space, page + k, 1, self.content())

    def do_scatter_all(self, space: int) -> None:
        for page, count in self.used.get(space, [])[-3:]:
            for k in range(count):
                self.add(Kind.WRITE, space, page + k, 1, self.content())

    def do_touch(self, space: int) -> None:
        self.add(Kind.TOUCH, space, *self.part(space))

    def do_look(self, space: int) -> None:
        self.add(self.pick(Kind.READ, Kind.READ, Kind.MIGRATE, Kind.MARK), space, *self.part(space))

    def do_fork(self, space: int) -> None:
        depth = self.pick(1, 1, 2, 3)
        while depth and self.n_spaces < MAX_SPACES:
            child = self.new_space()
            self.add(Kind.FORK, space, value=child)
            self.used[child] = list(self.used.get(space, []))
            if self.chance(0.4):
                self.do_write(space)
            if self.chance(0.15):
                self.add(Kind.MAP, child, *self.part(child), Mapping.NEVER)
            space = self.pick(space, child, child)
            depth -= 1

    def do_exit(self, space: int) -> None:
        if len(self.alive) > 1 or self.chance(0.1):
            self.add(Kind.EXIT, space)
            self.alive.remove(space)

    def do_exec(self, space: int) -> None:
        self.add(Kind.EXEC, space)
        self.used[space] = []
        if self.chance(0.7):
            self.do_map(space)

    def do_unmap(self, space: int) -> None:
        self.add(Kind.UNMAP, space, *self.part(space))

    def do_move(self, space: int) -> None:
        page, count = self.part(space)
        to, _ = self.anywhere()
        self.add(Kind.MOVE, space, page, count, to)
        self.used.setdefault(space, []).append((to, count))
        if self.chance(0.4):
            self.add(Kind.MOVE, space, to, count, page)

    def do_ask(self, space: int) -> None:
        self.add(Kind.MADVISE, space, *self.part(space), Advice.MERGEABLE)

    def do_take_back(self, space: int) -> None:
        page, count = self.part(space)
        self.add(Kind.MADVISE, space, page, count, Advice.UNMERGEABLE)
        if self.chance(0.3):
            self.add(Kind.MADVISE, space, page, count, Advice.MERGEABLE)

    def do_take_all_back(self, space: int) -> None:
        if self.chance(0.4):
            self.add(Kind.MADVISE, space, _FIRST, _N_AREAS * _AREA_STEP, Advice.UNMERGEABLE)

    def do_empty(self, space: int) -> None:
        if self.chance(0.8):
            self.add(Kind.MADVISE, space, *self.part(space), Advice.DONTNEED)
        else:
            self.add(Kind.SWAPOUT, space, *self.part(space))

    def do_empty_all(self, space: int) -> None:
        self.add(Kind.MADVISE, space, _FIRST, _N_AREAS * _AREA_STEP, Advice.DONTNEED)
        if self.chance(0.5):
            self.do_scatter(space)

    def do_advise(self, space: int) -> None:
        self.add(Kind.MADVISE, space, *self.part(space), self.pick(8, 10, 10, 11, 14, 15, 18, 18, 19, 99))

    def do_share(self, space: int) -> None:
        self.add(Kind.SHARE, space, *self.part(space), self.pick(*range(self.n_spaces)))

    def do_prctl(self, space: int) -> None:
        self.add(Kind.PRCTL, space, value=self.pick(0, 1))

    def do_store(self, space: int) -> None:
        number = int(self.rng.integers(len(self.names)))
        self.store(self.names[number], self.pick(*_STORES[self.names[number]]))

    def store(self, name: str, value: int) -> None:
        self.named[len(self.rows)] = self.names.index(name)
        self.add(Kind.TUNE, 0, value=value)

    # -- weather -------------------------------------------------------------------------------------------------------

    def event(self) -> None:
        if not self.alive:
            if self.n_spaces < MAX_SPACES:
                self.do_fresh()
            return
        verb = self.verbs[int(self.rng.choice(len(self.verbs), p=self.likes))]
        verb(self, self.pick(*self.alive))

    def do_fresh(self, space: int = 0) -> None:
        if self.n_spaces < MAX_SPACES:
            born = self.new_space()
            for _ in range(self.pick(1, 2)):
                self.do_map(born)
            for _ in range(self.pick(0, 2, 4, 8)):
                self.do_scatter(born)

    def huge(self, space: int) -> None:
        """A block of 2 MiB, which had no huge frames in 2009."""
        block = 2 * HUGE_PAGES
        self.add(Kind.MAP, space, block, HUGE_PAGES)
        self.add(Kind.MADVISE, space, block, 16, Advice.MERGEABLE)
        self.add(Kind.WRITE, space, block, 12, self.content())
        self.used[space].append((block, 12))
        self.time += self.pick(0, 100, 200) * STEP_NS
        self.add(Kind.HUGE, space, block, HUGE_PAGES)

    def hollow(self, space: int) -> None:
        """Pages that may soon pair; at some moment of their second pass nothing maps most merged frames any more."""
        page = _FIRST + (_N_AREAS - 1) * _AREA_STEP
        self.sort = (self.sort + 1) % self.sorts
        for k in range(_AREA_PAGES):
            self.add(Kind.WRITE, space, page + k, 1, self.new_content())
        self.time += int(self.rng.integers(40)) * STEP_NS
        for other in self.alive:
            self.add(Kind.MADVISE, other, _FIRST, (_N_AREAS - 1) * _AREA_STEP, Advice.DONTNEED)

    def play_dense(self) -> None:
        """Many pages of many contents; what has merged is rewritten or dropped at once, and what is new pairs."""
        self.contents = make_contents(self.rng, self.pick(6, 24, 48, 60))
        self.sorts = self.pick(1, 2, 4)
        for _ in range(self.pick(1, 2)):
            space = self.new_space()
            for area in range(_N_AREAS):
                page = _FIRST + area * _AREA_STEP
                self.add(Kind.MAP, space, page, _AREA_PAGES)
                self.add(Kind.MADVISE, space, page, _AREA_PAGES, Advice.MERGEABLE)
                self.used.setdefault(space, []).append((page, _AREA_PAGES))
            self.do_scatter_all(space)
        step = 0
        while step < 260 and self.alive:
            step += self.pick(4, 40, 80)
            for _ in range(self.pick(1, 1, 2, 5)):
                self.time = max(self.time, step * STEP_NS)
                if self.alive and self.chance(0.6):
                    storms = (self.hollow, self.do_scatter_all, self.do_scatter, self.do_fork)
                    storms[self.pick(0, 0, 1, 2, 3)](self.pick(*self.alive))
                else:
                    self.event()
                step += self.pick(1, 2, 4)
        self.time = max(self.time, step * STEP_NS)
        self.add(Kind.MARK, 0)

    def play(self) -> None:
        """Calm and storm by turns, for half a second to two seconds."""
        for _ in range(self.pick(1, 2, 3)):
            self.do_fresh()
        step, last = 0, self.pick(120, 200, 400)
        while step < last:
            step += self.pick(1, 4, 20, 60, 120)  # calm
            for _ in range(self.pick(1, 3, 10)):  # storm
                self.time = max(self.time, step * STEP_NS)
                for _ in range(self.pick(1, 1, 2, 4)):
                    self.event()
                step += self.pick(0, 1, 1, 2, 4, 8)
        if self.chance(0.03) and self.alive:
            self.huge(self.alive[0])
        self.time = max(self.time, step * STEP_NS)
        self.add(Kind.MARK, 0)


def _settings(w: _Weather, design: str) -> dict[str, int | str]:
    def words(*values: str) -> str:
        return values[int(w.rng.integers(len(values)))]

    settings: dict[str, int | str] = {
        "pages_to_scan": w.pick(1, 3, 10, 25, 60, 150),
        "sleep_millisecs": w.pick(10, 20, 20, 40),
        "max_kernel_pages": w.pick(0, 0, 0, 1, 2, 5),
        "wrprotect": words("pte", "rmap"),
    }
    if w.chance(0.1):
        settings["run"] = 0 if design == "madvise-rfc-2009" else w.pick(0, 2)
    for name, values in _WORDS[design].items():
        settings[name] = words(*values)
    if design == "devksm-2009":
        settings["index_bug"] = w.pick(0, 0, 1)
    if design == "madvise-rfc-2009":
        chosen = [word for word in _CALLBACKS if w.chance(0.5)] if w.chance(0.7) else []
        settings["callbacks"] = ",".join(chosen) or "none"
        settings["merge_pid"] = w.pick(-1, -1, 0, 1, 3, 8)
    if design in ("devksm-2009", "madvise-rfc-2009") and w.chance(0.2):
        settings["sleep"] = w.pick(5_000, 12_345, 50_000)
    return settings


def scenario(design: str, seed: int) -> Scenario:
    """One for the design."""
    w = _Weather(seed, sorted(_WORDS).index(design))
    settings = _settings(w, design)
    if w.chance(0.4):
        settings["pages_to_scan"] = w.pick(25, 60, 150)
        settings["max_kernel_pages"] = w.pick(0, 0, 0, 20)
        w.play_dense()
    else:
        w.play()
    if int(settings.get("merge_pid", -1)) >= w.n_spaces:
        settings["merge_pid"] = -1
    asking = frozenset(s for s in range(w.n_spaces) if w.chance(0.5)) if w.chance(0.15) else frozenset()
    return Scenario(make_trace(w.rows, w.contents, w.names, w.named), settings, asking)
