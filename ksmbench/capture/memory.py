"""What a capture knows of one process's memory: its mappings, its pages, and what a replay of the events so far has."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ksmbench.capture.frames import NO_FRAME, Frames
from ksmbench.capture.known import huge_blocks, inside, shifted, without
from ksmbench.capture.moves import Move
from ksmbench.capture.pagemap import HUGE_PAGES, PRESENT, Pages, join, no_pages, only
from ksmbench.capture.procfs import Mapping
from ksmbench.trace.schema import Mapping as MappingKind


class Memory:
    """Memory as numbers, one each per page that is there.

    `pages` are those that are there, ascending, `content` (int64) the number of each in the store, `frame` (int64) the
    one that it has in a replay, `huge` the first pages of its huge blocks, `mappings` what is mapped, by address.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.mappings: list[Mapping] = []
        self.others: list[Mapping] = []  # which no look shows: files and shared memory, where a call told of them
        self.pages = no_pages()
        self.content = np.zeros(0, np.int64)
        self.frame = np.zeros(0, np.int64)
        self.huge = np.zeros(0, np.int64)
        self.merges_any = False

    def become_copy(self, parent: "Memory") -> None:
        """Be what fork makes of the parent's, after each mapping's advice."""
        self.mappings = [m for m in parent.mappings if "dc" not in m.flags]
        self.others = list(parent.others)
        copied = inside(parent.pages.page, [m for m in self.mappings if "wf" not in m.flags])
        self.pages = only(parent.pages, copied)
        self.content, self.frame = parent.content[copied], parent.frame[copied]
        self.frames.hold(self.frame)
        self.huge = huge_blocks(self.pages)
        self.merges_any = parent.merges_any

    def clear(self) -> None:
        """Nothing is mapped."""
        self.mappings = []
        self.others = []
        self.forget()
        self.merges_any = False

    def forget(self) -> None:
        """The process has ended: no page is kept, and no frame held."""
        self.keep(np.zeros(len(self.content), np.bool_))

    def merge_any(self, on: bool) -> None:
        """PR_SET_MEMORY_MERGE: everything that is mapped is mergeable, or nothing."""
        self.merges_any = on
        mergeable = frozenset({"mg"})
        can = [m.kind != MappingKind.NEVER for m in self.mappings]
        self.mappings = [
            replace(m, flags=m.flags | mergeable if on and is_able else m.flags - mergeable)
            for m, is_able in zip(self.mappings, can, strict=True)
        ]

    def keep(self, which: npt.NDArray[np.bool_]) -> None:
        """All other pages are absent."""
        if which.all():
            return
        self.frames.drop(self.frame[~which])
        self.pages = only(self.pages, which)
        self.content, self.frame = self.content[which], self.frame[which]
        self.huge = huge_blocks(self.pages)

    def drop(self, start: int, end: int) -> None:
        """The pages [start, end) are absent."""
        self.keep((self.pages.page < start) | (self.pages.page >= end))

    def unmap(self, start: int, end: int) -> None:
        """Nothing is mapped at [start, end)."""
        self.mappings = without(self.mappings, start, end)
        self.others = without(self.others, start, end)
        self.drop(start, end)

    def has(self, start: int, end: int) -> bool:
        """Whether anything is mapped in [start, end)."""
        return any(m.start < end and start < m.end for m in (*self.mappings, *self.others))

    def map(self, mapping: Mapping) -> None:
        """Map it in place of what is there."""
        self.unmap(mapping.start, mapping.end)
        self.mappings = sorted([*self.mappings, mapping], key=lambda m: m.start)

    def move(self, move: Move) -> None:
        """Have what is mapped at its pages at its target, in place of what is there."""
        n, distance = move.end - move.start, move.target - move.start
        self.mappings = _moved(self.mappings, move)
        self.others = _moved(self.others, move)
        self.drop(move.target, move.target + n)
        page = self.pages.page.copy()
        moving = (page >= move.start) & (page < move.end)
        page[moving] += distance
        order = np.argsort(page)
        if distance % HUGE_PAGES:
            self.pages.huge[moving] = False
        self.pages = only(self.pages._replace(page=page), order)
        self.content, self.frame = self.content[order], self.frame[order]
        self.huge = huge_blocks(self.pages)

    def fill(self, start: int, end: int, state: int) -> npt.NDArray[np.int64]:
        """Have the absent pages of [start, end) full of zeros, in the given state; returns them."""
        lo, hi = np.searchsorted(self.pages.page, (start, end))
        new = np.setdiff1d(np.arange(start, end), self.pages.page[lo:hi], assume_unique=True)
        zeros = np.zeros(len(new), np.int64)
        more = Pages(new, np.full(len(new), state, np.uint8), zeros.astype(np.bool_), zeros)
        pages = join([self.pages, more])
        order = np.argsort(pages.page, kind="stable")
        self.pages = only(pages, order)
        self.content = np.concatenate([self.content, zeros])[order]
        frame = self.frames.new(len(new)) if state == PRESENT else np.full(len(new), NO_FRAME)
        self.frame = np.concatenate([self.frame, frame])[order]
        return new


def _moved(mappings: list[Mapping], move: Move) -> list[Mapping]:
    n, distance = move.end - move.start, move.target - move.start
    parts = shifted(mappings, move.start, move.end, distance)
    left = without(without(mappings, move.start, move.end), move.target, move.target + n)
    return sorted([*left, *parts], key=lambda m: m.start)
