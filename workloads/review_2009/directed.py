"""Small scenarios whose course follows from how the designs of 2009 work, with what must be seen in each.

A batch of ksmd runs every 20 ms, and, unless a scenario says otherwise, looks at more pages than there are: so a
quarter of a second is several passes. What is expected is that of sampling every 20 ms while scanning takes no time.
`docs/designs-2009.md` has the rules from which it follows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice
from workloads.telling import FIRST_PAGE, Story

DEVICE, RFC, ROLLUP, MERGED = "devksm-2009", "madvise-rfc-2009", "ksm-rollup-2009", "ksm-2.6.32"
DESIGNS = (DEVICE, RFC, ROLLUP, MERGED)
UNTRACKED, TRACKED = (DEVICE, RFC), (ROLLUP, MERGED)  # forks, and whatever else moves merged pages about
Q = 64  # pages of most areas
OTHER_PLACE = FIRST_PAGE + 0x10000


@dataclass(frozen=True)
class Expected:
    """A column of the samples lies between `low` and `high` (the same as `low` where None) at a time."""

    designs: tuple[str, ...]
    seconds: float
    column: str
    low: int
    high: int | None
    told: str


@dataclass
class Directed:
    """A scenario: the trace, settings for every design, further ones for single designs, and what must be seen."""

    trace: Trace
    settings: dict[str, int]
    more: dict[str, dict[str, int | str]] = field(default_factory=dict)
    expected: list[Expected] = field(default_factory=list)

    def at(self, designs: tuple[str, ...], seconds: float, told: str, **columns: int | tuple[int, int]) -> None:
        """Expect these columns at `seconds`, each a number or its bounds."""
        for column, value in columns.items():
            low, high = value if isinstance(value, tuple) else (value, None)
            self.expected.append(Expected(designs, seconds, column, low, high, told))


def _twice(story: Story, space: int, seconds: float) -> None:
    # 2Q pages that hold Q new contents, twice each.
    story.fill(seconds, space, FIRST_PAGE, np.tile(story.contents(Q), 2))


def _two_equal(story: Story, more: int = 0) -> tuple[int, int]:
    # Two processes with Q equal pages, and `more` of their own, all mergeable.
    shared = story.contents(Q)
    spaces = story.space("a"), story.space("b")
    for space in spaces:
        story.area(0.0, space, FIRST_PAGE, Q + more)
        story.fill(0.0, space, FIRST_PAGE, np.concatenate([shared, story.contents(more)]))
    return spaces


def quota(rounds: int = 4) -> Directed:
    """Rounds of: fork an idle child, rewrite all merged pages, merge again; the quota is what one round needs."""
    story = Story(0)
    parent = story.space("parent")
    story.area(0.0, parent, FIRST_PAGE, 2 * Q)
    _twice(story, parent, 0.0)
    for k in range(1, rounds + 1):
        story.fork(float(k), parent, f"child-{k}")
        _twice(story, parent, k + 0.25)
    case = Directed(story.end(rounds + 1.0, "quota", "directed"), {"pages_to_scan": 2000, "max_kernel_pages": Q})
    case.at(DESIGNS, 0.99, "Q pages are merged, as many as the quota allows", frames_ksm=Q, kernel_pages_counted=Q)
    case.at(DESIGNS, 0.99, "nothing is lost without a fork", lost_ptes=0)
    for k in range(1, rounds + 1):
        told = f"round {k}: "
        case.at(UNTRACKED, k + 0.2, told + "no structure knows the children's entries", lost_ptes=2 * Q * k)
        case.at(TRACKED, k + 0.2, told + "the child was scanned, all is tracked", lost_ptes=0)
        case.at(UNTRACKED, k + 0.99, told + "every child holds Q frames, the parent Q more", frames_ksm=(k + 1) * Q)
        case.at(DESIGNS, k + 0.99, told + "what is counted respects the quota", kernel_pages_counted=(0, Q))
        case.at(TRACKED, k + 0.99, told + "the child's frames are counted, no others may come", frames_ksm=Q)
    return case


def exit_at(batch: int = 0) -> Directed:
    """One of five merged processes ends `batch` batches after the third second; a pass is five batches or six."""
    own = 32
    story = Story(0)
    shared = story.contents(Q)
    for number in range(5):
        space = story.space(f"p{number}")
        story.area(0.0, space, FIRST_PAGE, Q + own)
        story.fill(0.0, space, FIRST_PAGE, np.concatenate([shared, story.contents(own)]))
    story.exit(3.01 + 0.02 * batch, 2)
    case = Directed(story.end(5.0, "exit", "directed"), {"pages_to_scan": Q + own})
    frames = Q + 5 * own
    case.at(DESIGNS, 2.99, "Q pages are one for all, the others are each process's own", frames=frames)
    soon = 3.03 + 0.02 * batch
    case.at(TRACKED, soon, "memory is free at the exit", dead_pages=0, frames=frames - own)
    case.at((DEVICE,), soon, "the descriptor is closed by the exit", dead_pages=0, frames=frames - own)
    case.at((RFC,), 4.9, "after two passes at most it is free", dead_pages=0, frames=frames - own)
    return case


def held() -> Directed:
    """The same with a descriptor of /dev/ksm that somebody keeps open: the memory of the dead stays."""
    case = exit_at(0)
    case.more = {DEVICE: {"fd": "held"}}
    case.expected = []
    case.at((DEVICE,), 4.9, "what the exited process had to itself is never freed", dead_pages=32)
    return case


def stop() -> Directed:
    """run=0 for a second, then run=1."""
    story = Story(0)
    _two_equal(story)
    story.tune(1.0, "run", 0)
    story.tune(2.0, "run", 1)
    case = Directed(story.end(3.0, "stop", "directed"), {"pages_to_scan": 2000})
    case.at(DESIGNS, 0.99, "merged", frames=Q, frames_ksm=Q)
    case.at((RFC,), 1.99, "run=0 gave every entry a frame of its own", frames=2 * Q, frames_ksm=0)
    case.at((DEVICE, *TRACKED), 1.99, "run=0 only pauses", frames=Q, frames_ksm=Q)
    case.at(DESIGNS, 2.99, "merged, once more or still", frames=Q, frames_ksm=Q)
    return case


def move() -> Directed:
    """One of two equal areas moves as a whole, then the process that stayed ends."""
    story = Story(0)
    a, b = _two_equal(story)
    story.area(0.0, a, FIRST_PAGE - 16, 8)  # what stays where it was
    story.fill(0.0, a, FIRST_PAGE - 16, story.contents(8))
    story.move(1.0, a, FIRST_PAGE, Q, OTHER_PLACE)
    story.exit(2.0, b)
    case = Directed(story.end(3.0, "move", "directed"), {"pages_to_scan": 2000})
    case.at(UNTRACKED, 1.9, "what moved is mapped and not known", lost_ptes=Q, lost_by_move=Q, frames_ksm=Q)
    case.at(TRACKED, 1.9, "what moved was found at its new place, or is no longer merged", lost_ptes=0)
    case.at(UNTRACKED, 2.9, "they are in use as long as it lives", frames_ksm=Q, lost_ptes=Q)
    case.at((RFC,), 2.9, "and nobody counts them", kernel_pages_counted=0)
    return case


def unmerge() -> Directed:
    """MADV_UNMERGEABLE of what is merged, in a process that keeps another mergeable page above."""
    story = Story(0)
    a, _ = _two_equal(story, 8)
    story.advise(1.0, a, FIRST_PAGE, Q, Advice.UNMERGEABLE)
    case = Directed(story.end(2.0, "unmerge", "directed"), {"pages_to_scan": 2000})
    case.at((RFC,), 1.9, "entries stay merged, and are forgotten", lost_ptes=Q, lost_by_unmerge=Q, frames=Q + 16)
    case.at((DEVICE, *TRACKED), 1.9, "pages of its own again", lost_ptes=0, frames=2 * Q + 16)
    return case


def unmerge_all() -> Directed:
    """MADV_UNMERGEABLE of all that a process has: the RFC drops its slot, and copies what that knows."""
    story = Story(0)
    a, _ = _two_equal(story)
    story.advise(1.0, a, FIRST_PAGE, Q, Advice.UNMERGEABLE)
    case = Directed(story.end(2.0, "unmerge-all", "directed"), {"pages_to_scan": 2000})
    case.at(DESIGNS, 1.9, "pages of its own again", lost_ptes=0, frames=2 * Q)
    return case


def unmap() -> Directed:
    """The parent unmaps what is merged, and a forked child keeps it."""
    story = Story(0)
    parent = story.space("parent")
    story.area(0.0, parent, FIRST_PAGE, 2 * Q + 8)
    story.fill(0.0, parent, FIRST_PAGE, np.concatenate([np.tile(story.contents(Q), 2), story.contents(8)]))
    story.fork(1.0, parent, "child")
    story.unmap(1.5, parent, FIRST_PAGE, 2 * Q)
    case = Directed(story.end(2.5, "unmap", "directed"), {"pages_to_scan": 2000})
    case.at(UNTRACKED, 2.4, "the child has them, and all of its entries are lost", frames_ksm=Q, lost_ptes=2 * Q)
    case.at(UNTRACKED, 2.4, "the parent's pages were seen to be gone, so nobody counts these", kernel_pages_counted=0)
    case.at(TRACKED, 2.4, "the child's frames are counted", frames_ksm=Q, kernel_pages_counted=Q, lost_ptes=0)
    return case


def sparse() -> Directed:
    """Two mappings with a few pages in each."""
    story = Story(0)
    held = story.contents(8)
    for name in ("a", "b"):
        space = story.space(name)
        story.area(0.0, space, FIRST_PAGE, 1024)
        story.write(0.0, space, FIRST_PAGE + 100 * np.arange(8), held)
    case = Directed(story.end(2.0, "sparse", "directed"), {"pages_to_scan": 200})
    slow = (DEVICE, RFC, ROLLUP)
    case.at(slow, 1.9, "2,048 addresses are 10 batches or 11, present or not", full_scans=(7, 10))
    case.at(slow, 1.9, "of them 16 are present", steps_absent=(16_000, 20_000), pages_scanned=(7 * 16, 10 * 16))
    case.at((MERGED,), 1.9, "only what is present uses the budget: a pass is a batch", full_scans=(95, 96))
    case.at(DESIGNS, 1.9, "merged all the same", frames=8, frames_ksm=8)
    return case


def never_asked() -> Directed:
    """One of two equal processes never asked for merging; `merge_pid` names it."""
    story = Story(0)
    shared = story.contents(Q)
    for name in ("never-asked", "asked"):
        space = story.space(name)
        story.area(0.0, space, FIRST_PAGE, Q, asks=name == "asked")
        story.fill(0.0, space, FIRST_PAGE, shared)
    settings = {"pages_to_scan": 2000}
    case = Directed(story.end(1.0, "never-asked", "directed"), settings, {RFC: {"merge_pid": 0}})
    case.at((RFC,), 0.9, "it is scanned like the other", frames=Q, frames_ksm=Q)
    case.at((DEVICE, *TRACKED), 0.9, "it is left alone", frames=2 * Q, frames_ksm=0)
    return case


SCENARIOS: dict[str, Callable[[], Directed]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (quota, exit_at, held, stop, move, unmerge, unmerge_all, unmap, sparse, never_asked)
}
