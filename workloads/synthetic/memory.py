"""The generator: whole arrays at a time, so that a million pages take seconds."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ksmbench.errors import UsageError
from ksmbench.trace.columns import Trace
from workloads.synthesis import check, check_events
from workloads.telling import FIRST_PAGE, Ints, Story, grouped_contents

_PARTS = ("mergeable", "zero", "duplicated", "hot", "hot_writes", "same", "again")
_LEAST: dict[str, float] = {"processes": 1, "pages": 1, "classes": 1, "group": 1, "prefix": 4, "lifetime": 0.001}
_MAX_PREFIX = 4088
_MAX_PROCESSES = 100_000
_LOADING_S = 0.05  # in which a process that comes has written its pages


class _Source:
    """Draws contents: zero, one of a class, or one that occurs nowhere else."""

    def __init__(self, story: Story, classes: int, skew: float) -> None:
        self._story = story
        self._classes = story.contents(classes)
        weights = np.arange(1, classes + 1) ** -skew
        self._edges = np.cumsum(weights) / weights.sum()

    def draw(self, n: int, zero: float, duplicated: float) -> Ints:
        """`n` contents: a part is zero, and of the others the part `duplicated` is of classes."""
        rng = self._story.rng
        place = np.searchsorted(self._edges, rng.random(n), side="right")
        drawn = self._classes[np.minimum(place, len(self._classes) - 1)]
        own = rng.random(n) >= duplicated
        drawn[own] = self._story.contents(int(np.count_nonzero(own)))
        drawn[rng.random(n) < zero] = 0
        return drawn


@dataclass(frozen=True)
class Synthetic:
    """Memory as parameters say."""

    seed: int
    seconds: float
    mergeable: float
    processes: int
    pages: int
    fill: float
    zero: float
    duplicated: float
    classes: int
    skew: float
    group: int
    prefix: int
    write_rate: float
    hot: float
    hot_writes: float
    same: float
    again: float
    children: int
    generations: int
    fork_at: float
    fork_apart: float
    churn: float
    churn_pages: int
    lifetime: float

    def _living(self) -> float:
        # Processes that stay: those at the start with all that descend from them.
        return self.processes * sum(float(self.children) ** k for k in range(min(self.generations, 64) + 1))

    def _check(self) -> None:
        check(self, parts=_PARTS, least=_LEAST, most={"prefix": _MAX_PREFIX})
        come = self.churn * self.seconds
        processes = self._living() + come
        if processes > _MAX_PROCESSES:
            raise UsageError(
                f"these parameters make about {processes:,.0f} processes; at most {_MAX_PROCESSES:,} are made"
            )
        check_events(self.pages + self._living() * self.write_rate * self.seconds + come * self.churn_pages)

    def tell(self) -> Trace:
        """The trace."""
        self._check()
        story = Story(self.seed)
        source = _Source(story, self.classes, self.skew)
        sizes = np.diff(np.linspace(0, self.pages, self.processes + 1).astype(np.int64))
        roots = []
        for number, size in enumerate(sizes.tolist()):
            space = story.space(f"process-{number}")
            roots.append((space, size))
            if size:
                story.area(0.0, space, FIRST_PAGE, size, asks=story.rng.random() < self.mergeable)
                times = np.linspace(0.0, min(self.fill, self.seconds), size)
                story.fill(times, space, FIRST_PAGE, source.draw(size, self.zero, self.duplicated))
            self._write(story, source, space, size, self.fill)
        self._fork(story, source, roots)
        self._come_and_go(story, source)
        bytes_of = partial(grouped_contents, group=self.group, prefix=self.prefix)
        return story.end(self.seconds, "synthetic", "synthetic: memory as its parameters say", self, bytes_of)

    def _write(self, story: Story, source: _Source, space: int, size: int, start: float) -> None:
        # What a process writes from `start` on.
        if size == 0 or start >= self.seconds or self.write_rate == 0:
            return
        times = story.times(start, self.seconds, 1 / self.write_rate)
        pages = FIRST_PAGE + self._places(story, len(times), size)
        same = story.rng.random(len(times)) < self.same
        story.touch(times[same], space, pages[same])
        written = source.draw(int(np.count_nonzero(~same)), 0.0, self.again)
        story.write(times[~same], space, pages[~same], written)

    def _places(self, story: Story, n: int, size: int) -> npt.NDArray[np.int64]:
        # Where in `size` pages: in the hot ones, which lie together, or anywhere.
        hot = max(1, round(self.hot * size))
        reach = np.where(story.rng.random(n) < self.hot_writes, hot, size)
        return (story.rng.random(n) * reach).astype(np.int64)

    def _fork(self, story: Story, source: _Source, parents: list[tuple[int, int]]) -> None:
        for generation in range(self.generations):
            at = self.fork_at + generation * self.fork_apart
            if at >= self.seconds or self.children == 0:
                return
            born = []
            for parent, size in parents:
                for _ in range(self.children):
                    child = story.fork(at, parent, f"child-{generation + 1}")
                    self._write(story, source, child, size, at)
                    born.append((child, size))
            parents = born

    def _come_and_go(self, story: Story, source: _Source) -> None:
        if self.churn == 0:
            return
        for start in story.times(0.0, self.seconds, 1 / self.churn).tolist():
            space = story.space("passing")
            stop = start + story.rng.exponential(self.lifetime)
            story.area(start, space, FIRST_PAGE, max(1, self.churn_pages), asks=story.rng.random() < self.mergeable)
            loaded = min(stop, self.seconds, start + _LOADING_S)
            contents = source.draw(self.churn_pages, self.zero, self.duplicated)
            story.fill(np.linspace(start, loaded, self.churn_pages), space, FIRST_PAGE, contents)
            if stop < self.seconds:
                story.exit(stop, space)
