"""A huge mapping with next to nothing in it, first on ksmd's list, and two processes that have much to merge."""

from dataclasses import dataclass

import numpy as np

from ksmbench.errors import UsageError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import PAGE_LIMIT
from workloads.synthesis import check, check_events
from workloads.telling import FIRST_PAGE, Story


@dataclass(frozen=True)
class Sparse:
    """One page in a sparse terabyte."""

    seed: int
    seconds: float
    span: int
    present: int
    pairs: int

    def tell(self) -> Trace:
        """The trace."""
        check(self, least={"span": 1}, most={"span": PAGE_LIMIT - FIRST_PAGE})
        check_events(self.present + 2 * self.pairs)
        if self.present > self.span:
            raise UsageError(f"present={self.present}: the mapping has {self.span} pages")
        story = Story(self.seed)
        sparse = story.space("sparse")
        story.area(0.0, sparse, FIRST_PAGE, self.span)
        places = np.unique(story.rng.integers(0, self.span, self.present))
        story.write(0.0, sparse, FIRST_PAGE + places, story.contents(len(places)))
        pairs = story.contents(self.pairs)
        for number in range(2 if self.pairs else 0):
            space = story.space(f"ordinary-{number}")
            story.area(0.0, space, FIRST_PAGE, self.pairs)
            story.fill(0.0, space, FIRST_PAGE, pairs)
        return story.end(self.seconds, "sparse-terabyte", "synthetic: one page in a sparse terabyte", self)
