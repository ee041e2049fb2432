"""Contents that are zero but for a number in their last 8 bytes."""

from dataclasses import dataclass

import numpy as np

from ksmbench.trace.columns import Trace
from workloads.synthesis import check, check_events
from workloads.telling import FIRST_PAGE, Story, tailed_contents


@dataclass(frozen=True)
class AlmostEqual:
    """Pages that are equal but for their last 8 bytes."""

    seed: int
    seconds: float
    processes: int
    pages: int
    twins: float

    def tell(self) -> Trace:
        """The trace."""
        check(self, parts=("twins",), least={"pages": 1})
        check_events(self.processes * self.pages)
        story = Story(self.seed)
        shared = story.contents(round(self.twins * self.pages))
        for number in range(self.processes):
            space = story.space(f"almost-equal-{number}")
            story.area(0.0, space, FIRST_PAGE, self.pages)
            held = np.concatenate([shared, story.contents(self.pages - len(shared))])
            story.fill(0.0, space, FIRST_PAGE, story.rng.permutation(held))
        return story.end(
            self.seconds,
            "almost-equal-pages",
            "synthetic: pages equal but for their last 8 bytes",
            self,
            tailed_contents,
        )
