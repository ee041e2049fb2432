"""Processes that move and unmap what was merged."""

from dataclasses import dataclass

import numpy as np

from ksmbench.trace.columns import Trace
from workloads.telling import FIRST_PAGE, Ints, Story, summary_of


@dataclass(frozen=True)
class Allocators:
    """Arrays that grow by mremap, most of the time to another place, with merged pages inside."""

    seed: int
    seconds: float
    processes: int
    arrays: int
    first_pages: int
    last_pages: int
    growth: float
    every: float
    moved: float
    places: int
    pool: int
    common: float

    def tell(self) -> Trace:
        """The trace."""
        story = Story(self.seed)
        pool = story.contents(self.pool)
        for number in range(self.processes):
            process = story.space(f"allocator-{number}")
            for array in range(self.arrays):
                self._grow(story, process, FIRST_PAGE + array * self.places * 2 * self.last_pages, pool)
        return story.end(self.seconds, "allocators", f"synthetic: {summary_of(self)}", self)

    def _extend(self, story: Story, time: float, process: int, page: int, count: int, pool: Ints) -> None:
        # The new pages of an array are part of its mapping, so they are mergeable as it is.
        story.area(time, process, page, count)
        filled = story.chosen(pool, self.common, count)
        story.fill(np.linspace(time, min(time + 0.05, self.seconds), count), process, page, filled)

    def _grow(self, story: Story, process: int, base: int, pool: Ints) -> None:
        place, size = 0, 0
        for time in story.times(0.1, self.seconds - 0.1, self.every):
            at = base + place * 2 * self.last_pages
            larger = int(size * self.growth) if size else self.first_pages
            if larger > self.last_pages:
                story.unmap(time, process, at, size)
                size, larger = 0, self.first_pages
            elif size and story.rng.random() < self.moved:
                place = (place + 1) % self.places
                target = base + place * 2 * self.last_pages
                story.move(time, process, at, size, target)
                at = target
            self._extend(story, time, process, at + size, larger - size, pool)
            size = larger


@dataclass(frozen=True)
class Churn:
    """Arenas whose chunks are unmapped and mapped anew all the time; some have a forked child that keeps the old."""

    seed: int
    seconds: float
    processes: int
    chunks: int
    chunk_pages: int
    pool: int
    common: float
    pairs: float
    every: float
    gap: float
    asks_again: float
    children: int
    fork_after: float

    def tell(self) -> Trace:
        """The trace."""
        story = Story(self.seed)
        pool = story.contents(self.pool)
        n = self.chunks * self.chunk_pages
        for number in range(self.processes):
            process = story.space(f"arena-{number}")
            story.area(0.0, process, FIRST_PAGE, n)
            filled = np.concatenate([self._chunk(story, pool) for _ in range(self.chunks)])
            story.fill(np.linspace(0.0, 1.0, n), process, FIRST_PAGE, filled)
            if number < self.children:
                story.fork(self.fork_after, process, f"keeper-{number}")
            self._unmap_and_map(story, process, pool)
        return story.end(self.seconds, "churn", f"synthetic: {summary_of(self)}", self)

    def _chunk(self, story: Story, pool: Ints) -> Ints:
        # What a chunk holds when it is mapped.
        n_pairs = int(self.pairs * self.chunk_pages) // 2
        n_common = int(self.common * self.chunk_pages)
        own = story.contents(self.chunk_pages - n_common - 2 * n_pairs)
        return np.concatenate([story.rng.choice(pool, n_common), np.tile(story.contents(n_pairs), 2), own])

    def _unmap_and_map(self, story: Story, process: int, pool: Ints) -> None:
        mapped_from = np.zeros(self.chunks)  # when each chunk is there again
        for time in story.times(3.0, self.seconds, self.every):
            chunk = int(story.rng.integers(self.chunks))
            if mapped_from[chunk] >= time:
                continue
            page = FIRST_PAGE + chunk * self.chunk_pages
            story.unmap(time, process, page, self.chunk_pages)
            again = time + 0.001 + story.rng.exponential(self.gap)
            mapped_from[chunk] = again + 0.01
            if again + 0.01 < self.seconds:
                story.area(again, process, page, self.chunk_pages, asks=story.rng.random() < self.asks_again)
                story.fill(again + np.linspace(0.0, 0.01, self.chunk_pages), process, page, self._chunk(story, pool))
