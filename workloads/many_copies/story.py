"""A few contents in very many copies, which then dwindle."""

from dataclasses import dataclass

import numpy as np

from ksmbench.trace.columns import Trace
from workloads.synthesis import check, check_events
from workloads.telling import FIRST_PAGE, Story


@dataclass(frozen=True)
class ManyCopies:
    """More copies of a content than max_page_sharing."""

    seed: int
    seconds: float
    processes: int
    contents: int
    copies: int
    others: int
    start: float
    rewrites: float

    def tell(self) -> Trace:
        """The trace."""
        check(self, least={"contents": 1, "copies": 1})
        n = self.contents * self.copies
        check_events(self.processes * (n + self.others + self.rewrites * self.seconds))
        story = Story(self.seed)
        common = story.contents(self.contents)
        for number in range(self.processes):
            space = story.space(f"copies-{number}")
            story.area(0.0, space, FIRST_PAGE, n + self.others)
            held = np.concatenate([np.repeat(common, self.copies), story.contents(self.others)])
            story.fill(0.0, space, FIRST_PAGE, held)
            if self.rewrites > 0:
                times = story.times(self.start, self.seconds, 1 / self.rewrites)
                story.write(times, space, FIRST_PAGE + story.rng.integers(0, n, len(times)), story.contents(len(times)))
        return story.end(self.seconds, "many-copies", "synthetic: more copies than max_page_sharing", self)
