"""A pre-forking server: fork, rewriting on both sides, retirement."""

from dataclasses import dataclass

import numpy as np

from ksmbench.trace.columns import Trace
from workloads.telling import FIRST_PAGE, Ints, Story, summary_of

_HEAP = FIRST_PAGE + (1 << 20)


@dataclass(frozen=True)
class Prefork:
    """A pre-forking server whose controller and workers rewrite parts of what they have in common."""

    seed: int
    seconds: float
    controllers: int
    data_pages: int
    copies: int
    fork_after: float
    workers: int
    lifetime: float
    heap_pages: int
    heap_common: float
    rewrites: float
    rewrites_common: float
    reload_every: float
    reload_pages: int

    def tell(self) -> Trace:
        """The trace."""
        story = Story(self.seed)
        data = np.tile(story.contents(-(-self.data_pages // self.copies)), self.copies)[: self.data_pages]
        reloads = np.arange(self.fork_after + self.reload_every / 2, self.seconds, self.reload_every)
        loaded = [self._reload(story, reload) for reload in range(len(reloads))]
        common = story.contents(self.data_pages)  # what any worker writes to a page of the data that all write alike
        heap = story.contents(self.heap_pages)
        for number in range(self.controllers):
            controller = story.space(f"controller-{number}")
            story.area(0.0, controller, FIRST_PAGE, self.data_pages)
            story.fill(np.linspace(0.0, 1.0, self.data_pages), controller, FIRST_PAGE, data)
            for time, (pages, contents) in zip(reloads, loaded, strict=True):
                spread = np.linspace(time, time + 0.5, len(pages))
                story.write(spread, controller, FIRST_PAGE + pages, contents)
            for _ in range(self.workers):
                self._workers(story, controller, common, heap)
        return story.end(self.seconds, "prefork", f"synthetic: {summary_of(self)}", self)

    def _reload(self, story: Story, number: int) -> tuple[Ints, Ints]:
        # Both controllers replace the same pages by the same new data.
        first = number * self.reload_pages % self.data_pages
        pages = (first + np.arange(self.reload_pages)) % self.data_pages
        new = story.contents(-(-self.reload_pages // self.copies))
        return pages, np.tile(new, self.copies)[: self.reload_pages]

    def _workers(self, story: Story, controller: int, common: Ints, heap: Ints) -> None:
        # One after the other: each is forked as soon as the one before has retired.
        start = self.fork_after + story.rng.uniform(0, 0.5)
        while start < self.seconds:
            stop = start + max(0.1, story.rng.exponential(self.lifetime))
            worker = story.fork(start, controller, f"worker-of-{controller}")
            story.area(start + 0.01, worker, _HEAP, self.heap_pages)
            own = story.rng.random(self.heap_pages) >= self.heap_common
            filled = heap.copy()
            filled[own] = story.contents(int(own.sum()))
            late = min(stop, self.seconds)
            story.fill(np.linspace(start + 0.02, min(start + 0.08, late), self.heap_pages), worker, _HEAP, filled)
            self._rewrite(story, worker, start + 0.1, late, common)
            if stop < self.seconds:
                story.exit(stop, worker)
            start = stop + 0.02

    def _rewrite(self, story: Story, worker: int, start: float, stop: float, common: Ints) -> None:
        times = story.times(start, max(start, stop), 1 / self.rewrites)
        pages = story.rng.integers(0, self.data_pages, len(times))
        contents = common[pages]
        own = story.rng.random(len(times)) >= self.rewrites_common
        contents[own] = story.contents(int(own.sum()))
        story.write(times[times < stop], worker, FIRST_PAGE + pages[times < stop], contents[times < stop])
