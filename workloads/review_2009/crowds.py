"""Very many processes: short-lived ones, and ones that asked for merging and have nothing to merge."""

from dataclasses import dataclass

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice
from workloads.telling import FIRST_PAGE, Ints, Story, summary_of

_PROGRAM = FIRST_PAGE + (1 << 20)


@dataclass(frozen=True)
class Crowd:
    """A crowd of short-lived processes, many of which end before ksmd ever sees them."""

    seed: int
    seconds: float
    processes: int
    lifetime: float
    shortest: float
    programs: int
    pages_least: int
    pages_most: int
    own: float
    forked: float
    launcher_pages: int
    launcher_copies: int
    lasting: int

    def tell(self) -> Trace:
        """The trace."""
        story = Story(self.seed)
        sizes = np.linspace(self.pages_least, self.pages_most, self.programs).astype(int)
        programs = [story.contents(size) for size in sizes]
        launcher = story.space("launcher")
        story.area(0.0, launcher, FIRST_PAGE, self.launcher_pages)
        held = np.tile(story.contents(self.launcher_pages // self.launcher_copies), self.launcher_copies)
        story.fill(np.linspace(0.0, 0.5, len(held)), launcher, FIRST_PAGE, held)
        for number in range(self.lasting):
            process = story.space(f"lasting-{number}")
            everything = np.concatenate(programs)
            story.area(0.0, process, _PROGRAM, len(everything))
            story.fill(np.linspace(0.0, 0.5, len(everything)), process, _PROGRAM, everything)
        for start in np.sort(story.rng.uniform(3.0, self.seconds, self.processes)):
            self._run(story, launcher, float(start), programs[story.rng.integers(self.programs)])
        return story.end(self.seconds, "crowd", f"synthetic: {summary_of(self)}", self)

    def _run(self, story: Story, launcher: int, start: float, program: Ints) -> None:
        forked = story.rng.random() < self.forked
        process = story.fork(start, launcher, "forked") if forked else story.space("new")
        stop = start + self.shortest + story.rng.exponential(self.lifetime)
        contents = program.copy()
        own = story.rng.random(len(contents)) < self.own
        contents[own] = story.contents(int(own.sum()))
        story.area(start, process, _PROGRAM, len(contents))
        filling = min(stop, self.seconds, start + 0.02)
        story.fill(np.linspace(start, filling, len(contents)), process, _PROGRAM, contents)
        if stop < self.seconds:
            story.exit(stop, process)


@dataclass(frozen=True)
class Idle:
    """Thousands of registered processes of which few have anything to merge, and large mappings with few pages."""

    seed: int
    seconds: float
    processes: int
    start: float
    pages: int
    kept: float
    unmergeable: float
    unmapped: float
    sparse: int
    sparse_pages: int
    sparse_present: int
    busy: int
    busy_pages: int
    busy_common: float

    def tell(self) -> Trace:
        """The trace."""
        story = Story(self.seed)
        pool = story.contents(self.pages)
        for start in np.sort(story.rng.uniform(0.0, self.start, self.processes)):
            self._ask_and_leave(story, float(start), pool)
        present = story.contents(self.sparse_present)
        places = FIRST_PAGE + np.sort(story.rng.choice(self.sparse_pages, self.sparse_present, replace=False))
        for number in range(self.sparse):
            process = story.space(f"sparse-{number}")
            story.area(self.start / 2, process, FIRST_PAGE, self.sparse_pages)
            story.write(self.start / 2, process, places, present)
        common = story.contents(int(self.busy_common * self.busy_pages))
        for number in range(self.busy):
            process = story.space(f"busy-{number}")
            come = self.start + self.kept + 1.0
            contents = np.concatenate([common, story.contents(self.busy_pages - len(common))])
            story.area(come, process, FIRST_PAGE, self.busy_pages)
            story.fill(np.linspace(come, come + 0.5, len(contents)), process, FIRST_PAGE, contents)
        return story.end(self.seconds, "idle", f"synthetic: {summary_of(self)}", self)

    def _ask_and_leave(self, story: Story, start: float, pool: Ints) -> None:
        process = story.space("asked-once")
        story.area(start, process, FIRST_PAGE, self.pages)
        story.fill(start, process, FIRST_PAGE, pool)
        drawn = story.rng.random()
        if drawn < self.unmergeable:
            story.advise(start + self.kept, process, FIRST_PAGE, self.pages, Advice.UNMERGEABLE)
        elif drawn < self.unmergeable + self.unmapped:
            story.unmap(start + self.kept, process, FIRST_PAGE, self.pages)


@dataclass(frozen=True)
class Unmodified:
    """One large process that never asked for merging, beside some that did and hold the same."""

    seed: int
    seconds: float
    pages: int
    pool: int
    common: float
    inside: float
    copies: int
    rewrites: float
    asking: int
    asking_pages: int

    def tell(self) -> Trace:
        """The trace; the process that never asked is space 0."""
        story = Story(self.seed)
        pool = story.contents(self.pool)
        process = story.space("never-asked")
        n_common, n_inside = int(self.common * self.pages), int(self.inside * self.pages)
        inside = np.tile(story.contents(-(-n_inside // self.copies)), self.copies)[:n_inside]
        own = story.contents(self.pages - n_common - n_inside)
        contents = np.concatenate([story.rng.choice(pool, n_common), inside, own])
        story.area(0.0, process, FIRST_PAGE, self.pages, asks=False)
        story.fill(np.linspace(0.0, 1.0, self.pages), process, FIRST_PAGE, story.rng.permutation(contents))
        times = story.times(2.0, self.seconds, 1 / self.rewrites)
        pages = FIRST_PAGE + story.rng.integers(0, self.pages, len(times))
        story.write(times, process, pages, story.chosen(pool, self.common, len(times)))
        for number in range(self.asking):
            other = story.space(f"asking-{number}")
            filled = story.chosen(pool, self.common, self.asking_pages)
            story.area(0.0, other, FIRST_PAGE, self.asking_pages)
            story.fill(np.linspace(0.0, 1.0, self.asking_pages), other, FIRST_PAGE, filled)
        return story.end(self.seconds, "unmodified", f"synthetic: {summary_of(self)}", self)
