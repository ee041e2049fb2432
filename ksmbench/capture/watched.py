"""One process under capture: what of its memory is known, and the events that a new look at it yields."""

import os
import select
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ksmbench.capture.pagemap import HUGE_PAGES, PRESENT, SWAPPED, ZERO, PageMap, Pages, join, no_pages, only
from ksmbench.capture.procfs import FLAG_ADVICE, Mapping, ProcessGoneError, merges_any, program_identity
from ksmbench.capture.reading import PIECE_PAGES, Reader, differing
from ksmbench.capture.recorder import Recorder
from ksmbench.capture.sources import Source
from ksmbench.capture.stopping import Stopper
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import Advice, Kind

_ABSENT = 0
_NO_CONTENT = -1
_NO_FLAGS: frozenset[str] = frozenset()


def _places(
    known: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    # Where each wanted page stands among the known ones (both ascending), and whether it does.
    place = np.searchsorted(known, wanted)
    found = np.zeros(len(wanted), np.bool_)
    inside = place < len(known)
    found[inside] = known[place[inside]] == wanted[inside]
    return np.where(found, place, 0), found


def _inside(pages: npt.NDArray[np.int64], mappings: list[Mapping]) -> npt.NDArray[np.bool_]:
    if not mappings or not len(pages):
        return np.zeros(len(pages), np.bool_)
    starts = np.array([m.start for m in mappings])
    ends = np.array([m.end for m in mappings])
    at = np.searchsorted(starts, pages, side="right") - 1
    result: npt.NDArray[np.bool_] = (at >= 0) & (pages < ends[at])
    return result


def _huge_blocks(pages: Pages) -> npt.NDArray[np.int64]:
    # First pages of the blocks that are huge as a whole; the pages ascend, so such a block's stand together.
    heads = np.flatnonzero(pages.huge & (pages.page % HUGE_PAGES == 0) & (pages.state == PRESENT))
    ends = heads + HUGE_PAGES
    heads, ends = heads[ends <= len(pages.page)], ends[ends <= len(pages.page)]
    n_huge = np.concatenate([[0], np.cumsum(pages.huge)])
    whole = (pages.page[ends - 1] - pages.page[heads] == HUGE_PAGES - 1) & (n_huge[ends] - n_huge[heads] == HUGE_PAGES)
    result: npt.NDArray[np.int64] = pages.page[heads[whole]]
    return result


def _pieces(old: list[Mapping], new: list[Mapping]) -> list[tuple[int, int, Mapping | None, Mapping | None]]:
    # The address space cut at every boundary: (start, end, old mapping, new mapping), where there is one of them.
    cuts = sorted({edge for m in (*old, *new) for edge in (m.start, m.end)})
    result = []
    i = k = 0
    for start, end in zip(cuts, cuts[1:], strict=False):
        while i < len(old) and old[i].end <= start:
            i += 1
        while k < len(new) and new[k].end <= start:
            k += 1
        before = old[i] if i < len(old) and old[i].start <= start else None
        after = new[k] if k < len(new) and new[k].start <= start else None
        if before or after:
            result.append((start, end, before, after))
    return result


class Watched:
    """A process under capture; row `space` of the trace's spaces.

    Memory is held as one number per page that is there: the id of its content in the store.
    """

    def __init__(
        self, source: Source, space: int, recorder: Recorder, store: ContentStore, reader: Reader, stopper: Stopper
    ) -> None:
        self.source = source
        self.space = space
        self.alive = True
        self.swapped_unseen = 0  # pages that were swapped out before their content was ever seen
        self.n_pages_read = 0
        self._recorder, self._store, self._reader, self._stopper = recorder, store, reader, stopper
        try:
            self._handle = os.pidfd_open(source.pid)
        except ProcessLookupError:
            raise ProcessGoneError from None
        self.pagemap = PageMap(source.pid)
        self._mappings: list[Mapping] = []
        self._pages = no_pages()
        self._content = np.zeros(0, np.int64)
        self._huge = np.zeros(0, np.int64)  # first pages of huge blocks
        self._program = program_identity(source.pid)
        self._merges_any = False
        # Where KSM puts the zero page itself: a mergeable page of zeros that became it was not the process's act.
        self.zero_pages_by_ksm = False

    def close(self) -> None:
        """Close the descriptors."""
        self.pagemap.close()
        os.close(self._handle)

    @property
    def n_mappings(self) -> int:
        """How many mappings are recorded now."""
        return len(self._mappings)

    @property
    def n_pages(self) -> int:
        """How many pages were not absent at the last look at which the process ran."""
        return len(self._pages.page)

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._ends_within(0)

    def _ends_within(self, milliseconds: int) -> bool:
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def look(self, clock: Callable[[], int]) -> None:
        """Record what changed since the last look, as of when it began; an end of the process becomes `exit`."""
        now = clock()
        try:
            if self.ended:
                raise ProcessGoneError
            self._stopper.stop(self.source.pid)
            now = clock()
            self._look(now)
        except ProcessGoneError:
            if not self._gone():
                return
            self._recorder.add(max(now, self._recorder.last_time_ns), Kind.EXIT, self.space)
            self.alive = False
        finally:
            self._stopper.go()

    def _gone(self) -> bool:
        # Its memory goes a moment before its descriptor tells.
        return self._ends_within(1000)

    def _look(self, now: int) -> None:
        mappings = self.source.mappings()
        program = program_identity(self.source.pid)
        if program != self._program:
            self._follow_exec(now, program)
        pages = join([self.pagemap.look(m.start, m.end) for m in mappings] or [no_pages()])
        program_identity(self.source.pid)  # if it ended meanwhile, its memory was not absent but gone
        self._record_mappings(now, mappings)
        self._record_pages(now, pages)

    def _follow_exec(self, now: int, program: tuple[str, ...]) -> None:
        pagemap = PageMap(self.source.pid)  # the old one shows the page table that was there when it was opened
        self.pagemap.close()
        self.pagemap = pagemap
        self._program = program
        self._recorder.add(now, Kind.EXEC, self.space)
        self._mappings = []
        self._keep(np.zeros(len(self._content), np.bool_))
        self._merges_any = False

    def _record_mappings(self, now: int, new: list[Mapping]) -> None:
        add = self._recorder.add
        merges_any_now = merges_any(self.source.pid)
        if merges_any_now != self._merges_any:
            self._merges_any = merges_any_now
            add(now, Kind.PRCTL, self.space, value=int(merges_any_now))
        if new == self._mappings:
            return
        pieces = _pieces(self._mappings, new)
        for start, end, before, after in pieces:
            if before and (not after or before.name != after.name):
                add(now, Kind.UNMAP, self.space, page=start, n_pages=end - start)
        for start, end, before, after in pieces:
            if not after:
                continue
            flags = before.flags if before and before.name == after.name else None
            if flags is None:
                add(now, Kind.MAP, self.space, page=start, n_pages=end - start, name=after.name)
                flags = _NO_FLAGS
            for flag in sorted(flags ^ after.flags):
                advice = FLAG_ADVICE[flag][0 if flag in after.flags else 1]
                add(now, Kind.MADVISE, self.space, page=start, n_pages=end - start, value=advice)
        kept = [Mapping(s, e, a.flags, a.name) for s, e, b, a in pieces if a and b and b.name == a.name]
        self._keep(_inside(self._pages.page, kept))
        self._mappings = new

    def _keep(self, which: npt.NDArray[np.bool_]) -> None:
        self._pages = only(self._pages, which)
        self._content = self._content[which]
        self._huge = _huge_blocks(self._pages)

    def _record_pages(self, now: int, pages: Pages) -> None:
        place, found = _places(self._pages.page, pages.page)
        if len(self._pages.page):
            content = np.where(found, self._content[place], _NO_CONTENT)
            before = np.where(found, self._pages.state[place], _ABSENT)
        else:
            content = np.full(len(pages.page), _NO_CONTENT)
            before = np.zeros(len(pages.page), np.uint8)
        was = content.copy()
        read = self._read(pages, content)
        if not read.all():
            # It went away between the look at the page table and the reading: as if it had been so before.
            pages = only(pages, read)
            content, was, before = content[read], was[read], before[read]
        add = self._recorder.add_pages
        _, still = _places(pages.page, self._pages.page)
        if self.zero_pages_by_ksm:
            mergeable = [m for m in self._mappings if "mg" in m.flags]
            replaced = (pages.state == ZERO) & (before == PRESENT) & (was == 0) & _inside(pages.page, mergeable)
            pages.state[replaced] = PRESENT  # for the process it is still its frame of zeros, also when KSM undoes it
        became_zero = (pages.state == ZERO) & ((before == PRESENT) | (before == SWAPPED))
        gone = np.union1d(self._pages.page[~still], pages.page[became_zero])
        add(now, Kind.MADVISE, self.space, gone, int(Advice.DONTNEED))
        swapped = (pages.state == SWAPPED) & (before == PRESENT)
        add(now, Kind.SWAPOUT, self.space, pages.page[swapped])
        self.swapped_unseen += int(np.count_nonzero((pages.state == SWAPPED) & (before == _ABSENT)))
        written = (pages.state == PRESENT) & ((before != PRESENT) | (content != was))
        add(now, Kind.WRITE, self.space, pages.page[written], content[written])
        add(now, Kind.READ, self.space, pages.page[(pages.state == ZERO) & ((before == _ABSENT) | became_zero)])
        huge = _huge_blocks(pages)
        fresh = np.setdiff1d(huge, self._huge, assume_unique=True)
        add(now, Kind.HUGE, self.space, (fresh[:, None] + np.arange(HUGE_PAGES)).reshape(-1))
        self._huge = huge
        self._pages, self._content = pages, content

    def _read(self, pages: Pages, content: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        # Reads what holds a frame, and puts the ids of what changed into `content`; returns which pages were there.
        there = np.ones(len(content), np.bool_)
        content[pages.state == ZERO] = 0
        frames = np.flatnonzero(pages.state == PRESENT)
        self.n_pages_read += len(frames)
        for start in range(0, len(frames), PIECE_PAGES):
            piece = frames[start : start + PIECE_PAGES]
            data, read = self._reader.read(self.source.pid, pages.page[piece])
            self._stopper.in_time()
            there[piece[~read]] = False
            fresh = differing(data, self._store, content[piece]) & read
            if fresh.any():
                content[piece[fresh]] = self._store.add(data[fresh])
        return there
