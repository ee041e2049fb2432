"""Equal pages of several processes, a part of which is written again and again with what it holds."""

from dataclasses import dataclass

from ksmbench.trace.columns import Trace
from workloads.synthesis import check, check_events
from workloads.telling import FIRST_PAGE, Story


@dataclass(frozen=True)
class SameBytes:
    """Merged pages that are written with the same bytes again."""

    seed: int
    seconds: float
    processes: int
    pages: int
    start: float
    touched: float
    every: float

    def tell(self) -> Trace:
        """The trace."""
        check(self, parts=("touched",), least={"pages": 1, "every": 0.001})
        again = round(self.touched * self.pages)
        check_events(self.processes * (self.pages + again * self.seconds / self.every))
        story = Story(self.seed)
        held = story.contents(self.pages)
        for number in range(self.processes):
            space = story.space(f"writer-{number}")
            story.area(0.0, space, FIRST_PAGE, self.pages)
            story.fill(0.0, space, FIRST_PAGE, held)
            if again:
                times = story.times(self.start, self.seconds, self.every / again)
                story.touch(times, space, FIRST_PAGE + story.rng.integers(0, again, len(times)))
        return story.end(self.seconds, "same-bytes-again", "synthetic: writes of the bytes that are there", self)
