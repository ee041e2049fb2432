"""Virtual machines that come and go."""

from dataclasses import dataclass

import numpy as np

from ksmbench.trace.columns import Trace
from workloads.telling import FIRST_PAGE, Ints, Story, summary_of


@dataclass(frozen=True)
class Vms:
    """Guests of one image that boot, write, and are killed at any moment of a scan."""

    seed: int
    seconds: float
    long: int
    short: int
    lifetime: float
    ram_pages: int
    boot: float
    image: float
    zero: float
    own: float
    rewrites: float

    def tell(self) -> Trace:
        """The trace."""
        story = Story(self.seed)
        image = story.contents(int(self.image * self.ram_pages))
        starts = [0.1 * i for i in range(self.long)]
        starts += sorted(story.rng.uniform(2.0, self.seconds - self.boot, self.short).tolist())
        for number, start in enumerate(starts):
            stays = number < self.long
            length = np.inf if stays else self.boot + story.rng.exponential(self.lifetime)
            guest = story.space(f"guest-{number}", "vm")
            stop = min(start + length, self.seconds)
            self._live(story, guest, start, stop, image)
            if stop < self.seconds:
                story.exit(stop, guest)
        return story.end(self.seconds, "vms", f"synthetic: {summary_of(self)}", self)

    def _live(self, story: Story, guest: int, start: float, stop: float, image: Ints) -> None:
        # The image comes first, as far as possible at the same places, which differ where a guest reads it otherwise.
        n_own, n_zero = int(self.own * self.ram_pages), int(self.zero * self.ram_pages)
        filled = np.concatenate([image, story.contents(n_own), np.zeros(n_zero, np.int64)])
        pages = FIRST_PAGE + story.rng.permutation(self.ram_pages)[: len(filled)]
        story.area(start, guest, FIRST_PAGE, self.ram_pages)
        times = start + np.linspace(0.001, self.boot, len(filled))
        booted = times < stop
        story.write(times[booted], guest, pages[booted], filled[booted])
        later = story.times(start + self.boot, stop, 1 / self.rewrites)
        story.write(later, guest, story.rng.choice(pages, len(later)), story.contents(len(later)))
