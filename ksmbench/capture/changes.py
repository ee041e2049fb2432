"""What a look at a process found, as events: mappings, pages and the frames that processes share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.capture.comparing import Comparer
from ksmbench.capture.frames import NO_FRAME, Frames
from ksmbench.capture.known import huge_blocks, inside, pieces, places
from ksmbench.capture.memory import Memory
from ksmbench.capture.moves import find_moves
from ksmbench.capture.pagemap import HUGE_PAGES, PRESENT, SWAPPED, ZERO, PageMap, Pages, only
from ksmbench.capture.procfs import FLAG_ADVICE, Mapping, merges_any
from ksmbench.capture.reading import Reader, differing
from ksmbench.capture.recorder import Recorder
from ksmbench.capture.sources import Source
from ksmbench.capture.stopping import Stopper
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import Advice, Kind

_ABSENT = 0
_NO_CONTENT = -1
_NO_FLAGS: frozenset[str] = frozenset()


@dataclass
class Shared:
    """What the processes of one capture have in common."""

    recorder: Recorder
    store: ContentStore
    reader: Reader
    stopper: Stopper
    frames: Frames = field(default_factory=Frames)
    running: Sequence["Changes"] = ()
    are_calls_told: bool = False  # then nobody guesses what mremap moved
    catch_up: Callable[[], None] = lambda: None  # applies the system calls up to now, where they are told
    ended: Callable[[Any], None] = lambda _: None  # is told of the process that has ended
    comparer: Comparer = field(init=False)

    def __post_init__(self) -> None:
        self.comparer = Comparer(self.reader, self.store)


class Changes:
    """The memory of one process as it is known, and what is recorded of how it changes."""

    def __init__(self, source: Source, space: int, shared: Shared) -> None:
        self.source = source
        self.space = space
        self.alive = True
        self.swapped_unseen = 0  # pages that were swapped out before their content was ever seen
        self.n_pages_read = 0
        self.memory = Memory(shared.frames)
        # Where KSM puts the zero page itself: a mergeable page of zeros that became it was not the process's act.
        self.zero_pages_by_ksm = False
        self._running, self._frames = shared.running, shared.frames
        self._recorder, self._store, self._reader = shared.recorder, shared.store, shared.reader
        self._comparer, self._stopper = shared.comparer, shared.stopper
        self._pagemap: PageMap | None = None
        self._unshared: list[Mapping] = []  # as `never_shared`
        self._is_settled = False  # no fork since the last look, which knew what it shares

    @property
    def is_readable(self) -> bool:
        """Whether it was there when the capture turned to it."""
        return self._pagemap is not None

    @property
    def pagemap(self) -> PageMap:
        """Its page table; only where it is readable."""
        assert self._pagemap is not None
        return self._pagemap

    def _unchanged(self, pages: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        # Whether the pages hold what those at these rows held.
        data, read = self._reader.read(self.source.pid, pages)
        return read & ~differing(data, self._store, self.memory.content[rows])

    def _record_moves(self, now: int, mappings: list[Mapping], pages: Pages) -> None:
        # What mremap moved, as the numbers of frames tell.
        if mappings == self.memory.mappings:
            return
        for move in find_moves(self.memory.mappings, self.memory.pages, mappings, pages, self._unchanged):
            n = move.end - move.start
            self._recorder.add(now, Kind.MOVE, self.space, page=move.start, n_pages=n, value=move.target)
            self.memory.move(move)

    def _record_mappings(self, now: int, new: list[Mapping]) -> None:
        add = self._recorder.add
        merges_any_now = merges_any(self.source.pid)
        if merges_any_now != self.memory.merges_any:
            self.memory.merge_any(merges_any_now)
            add(now, Kind.PRCTL, self.space, value=int(merges_any_now))
        if new == self.memory.mappings:
            return
        cut = pieces(self.memory.mappings, new)
        for start, end, before, after in cut:
            if before and not (after and before.goes_on_as(after)):
                add(now, Kind.UNMAP, self.space, page=start, n_pages=end - start)
        for start, end, before, after in cut:
            if not after:
                continue
            flags = before.flags if before and before.goes_on_as(after) else None
            if flags is None:
                add(now, Kind.MAP, self.space, page=start, n_pages=end - start, value=int(after.kind), name=after.name)
                flags = _NO_FLAGS
            for flag in sorted(flags ^ after.flags):
                advice = FLAG_ADVICE[flag][0 if flag in after.flags else 1]
                add(now, Kind.MADVISE, self.space, page=start, n_pages=end - start, value=advice)
        kept = [Mapping(s, e, a.flags, a.name) for s, e, b, a in cut if a and b and b.goes_on_as(a)]
        self.memory.keep(inside(self.memory.pages.page, kept))
        self.memory.mappings = new

    def _record_pages(
        self, now: int, pages: Pages, content: npt.NDArray[np.int64], read: npt.NDArray[np.bool_]
    ) -> None:
        place, found = places(self.memory.pages.page, pages.page)
        was, before = self._before(place, found)
        if not read.all():
            # It went away between the look at the page table and the reading, perhaps to another place: what was
            # known of it stays so until the next look.
            lost = np.flatnonzero(~read & (before != _ABSENT))
            pages.state[lost] = before[lost]
            pages.huge[lost] = self.memory.pages.huge[place[lost]]
            pages.pfn[lost] = self.memory.pages.pfn[place[lost]]
            content[lost] = was[lost]
            known_or_read = read | (before != _ABSENT)
            pages = only(pages, known_or_read)
            content, was, before = content[known_or_read], was[known_or_read], before[known_or_read]
        self._record_states(now, pages, before, was)
        changed = (pages.state == PRESENT) & ((before != PRESENT) | (content != was))
        # What was written into another frame meanwhile, as copy-on-write does, has that one.
        pages.pfn[changed] = self.pagemap.frames(pages.page[changed])
        frame = self._record_frames(now, pages, content, changed)
        became_zero = (pages.state == ZERO) & ((before == PRESENT) | (before == SWAPPED))
        read_now = (pages.state == ZERO) & ((before == _ABSENT) | became_zero)
        self._recorder.add_pages(now, Kind.READ, self.space, pages.page[read_now])
        self._record_huge(now, pages, frame)
        self.memory.pages, self.memory.content, self.memory.frame = pages, content, frame

    def _record_states(self, now: int, pages: Pages, before: npt.NDArray[np.uint8], was: npt.NDArray[np.int64]) -> None:
        # Pages that went, to swap or altogether.
        add = self._recorder.add_pages
        _, still = places(pages.page, self.memory.pages.page)
        if self.zero_pages_by_ksm:
            mergeable = [m for m in self.memory.mappings if "mg" in m.flags]
            replaced = (pages.state == ZERO) & (before == PRESENT) & (was == 0) & inside(pages.page, mergeable)
            pages.state[replaced] = PRESENT  # for the process it is still its frame of zeros, also when KSM undoes it
        became_zero = (pages.state == ZERO) & ((before == PRESENT) | (before == SWAPPED))
        gone = np.union1d(self.memory.pages.page[~still], pages.page[became_zero])
        add(now, Kind.MADVISE, self.space, gone, int(Advice.DONTNEED))
        swapped = (pages.state == SWAPPED) & (before == PRESENT)
        add(now, Kind.SWAPOUT, self.space, pages.page[swapped])
        self.swapped_unseen += int(np.count_nonzero((pages.state == SWAPPED) & (before == _ABSENT)))

    def _record_frames(
        self, now: int, pages: Pages, content: npt.NDArray[np.int64], changed: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        # Records what was written, and with whom each page shares its frame; returns the frames that a replay has then.
        place, found = places(self.memory.pages.page, pages.page)
        kept = np.flatnonzero(found & (pages.state == PRESENT))
        frame = np.full(len(pages.page), NO_FRAME)
        frame[kept] = self.memory.frame[place[kept]]
        self._frames.drop(np.delete(self.memory.frame, place[kept]))
        # The same bytes in another frame.
        other = np.zeros(len(pages.page), np.bool_)
        known = self.memory.pages.pfn[place[kept]]
        other[kept] = ~changed[kept] & (known != 0) & (pages.pfn[kept] != 0) & (known != pages.pfn[kept])
        unseen = kept[~changed[kept] & (known == 0) & (pages.pfn[kept] != 0)]
        other[unseen] = self._is_alone(pages, frame, unseen)
        asked = np.flatnonzero((changed | other) & (pages.pfn != 0))
        for twin in self._running:
            if twin is not self and twin.is_readable and len(asked):
                same, frames = twin._mapped(pages.page[asked], pages.pfn[asked], content[asked])
                same[same] = ~self.pagemap.merged(pages.pfn[asked[same]])  # KSM's are not what the process did
                rows = asked[same]
                self._recorder.add_pages(now, Kind.SHARE, self.space, pages.page[rows], twin.space)
                self._frames.hold(frames[same])
                self._frames.drop(frame[rows])
                frame[rows] = frames[same]
                changed, other = changed.copy(), other.copy()
                changed[rows] = other[rows] = False
                asked = asked[~same]
        self._recorder.add_pages(now, Kind.WRITE, self.space, pages.page[changed], content[changed])
        self._separate(frame, np.flatnonzero(changed))
        # A frame of one's own that is another one now was moved by the kernel; one that was shared was copied.
        touched = np.flatnonzero(other & self._frames.shared(frame))
        touched = touched[~self.pagemap.merged(pages.pfn[touched])]
        self._recorder.add_pages(now, Kind.TOUCH, self.space, pages.page[touched])
        self._separate(frame, touched)
        return frame

    def _is_alone(
        self, pages: Pages, frame: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        # Which pages, of frames that no look saw so far, share them with nobody who has the frame in a replay.
        alone = self._frames.shared(frame[rows])
        for twin in self._running:
            asked = np.flatnonzero(alone)
            if twin is not self and twin.is_readable and len(asked):
                here = rows[asked]
                place, found = places(twin.memory.pages.page, pages.page[here])
                same = found & (twin.pagemap.frames(pages.page[here]) == pages.pfn[here])
                same[same] = twin.memory.frame[place[same]] == frame[here[same]]
                alone[asked[same]] = False
        return alone

    def _mapped(
        self, pages: npt.NDArray[np.int64], pfn: npt.NDArray[np.int64], content: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        # Which of the pages have these frames and contents here too, now; and their frames in a replay.
        known = self.memory
        place, found = places(known.pages.page, pages)
        rows = np.flatnonzero(found)
        at = place[rows]
        rows = rows[(known.pages.pfn[at] == pfn[rows]) & (known.content[at] == content[rows]) & (known.frame[at] >= 0)]
        if len(rows):
            rows = rows[self.pagemap.frames(pages[rows]) == pfn[rows]]
        same = np.zeros(len(pages), np.bool_)
        same[rows] = True
        frames = np.full(len(pages), NO_FRAME)
        frames[rows] = known.frame[place[rows]]
        return same, frames

    def _separate(self, frame: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> None:
        # A write goes into a frame of one's own: into the one that is there, or into a new one.
        rows = rows[(frame[rows] == NO_FRAME) | self._frames.shared(frame[rows])]
        self._frames.drop(frame[rows])
        frame[rows] = self._frames.new(len(rows))

    def _record_huge(self, now: int, pages: Pages, frame: npt.NDArray[np.int64]) -> None:
        # A block whose frames are shared is the huge one of who has them too: recorded there.
        huge = huge_blocks(pages)
        fresh = np.setdiff1d(huge, self.memory.huge, assume_unique=True)
        rows = np.searchsorted(pages.page, fresh)[:, None] + np.arange(HUGE_PAGES)
        fresh = fresh[~self._frames.shared(frame[rows]).any(axis=1)]
        self._recorder.add_pages(now, Kind.HUGE, self.space, (fresh[:, None] + np.arange(HUGE_PAGES)).reshape(-1))
        self.memory.huge = huge

    def _before(
        self, place: npt.NDArray[np.int64], found: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        # The content and the state that pages had, those that were found at these places.
        if not len(self.memory.pages.page):
            return np.full(len(found), _NO_CONTENT), np.zeros(len(found), np.uint8)
        was = np.where(found, self.memory.content[place], _NO_CONTENT)
        return was, np.where(found, self.memory.pages.state[place], _ABSENT)

    def _settled(
        self,
        pages: Pages,
        place: npt.NDArray[np.int64],
        found: npt.NDArray[np.bool_],
        content: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.bool_]:
        # Pages that need no reading: as long as two processes map one frame, nobody can write to it.
        settled = np.zeros(len(found), np.bool_)
        rows = np.flatnonzero(found & (pages.pfn != 0))
        at = place[rows]
        rows = rows[(self.memory.pages.pfn[at] == pages.pfn[rows]) & self._frames.shared(self.memory.frame[at])]
        for twin in self._running:
            if twin is not self and twin._is_settled and len(rows):
                same, _ = twin._mapped(pages.page[rows], pages.pfn[rows], content[rows])
                settled[rows[same]] = True
                rows = rows[~same]
        return settled

    def _contents(self, pages: Pages) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        # The number of the content of each page, and whether it was there to be read.
        place, found = places(self.memory.pages.page, pages.page)
        content, _ = self._before(place, found)
        return content, self._read(pages, content, self._settled(pages, place, found, content))

    def _read(
        self, pages: Pages, content: npt.NDArray[np.int64], settled: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        # Reads what holds a frame and is not settled, and puts the ids of what changed into `content`; returns which
        # pages were there.
        there = np.ones(len(content), np.bool_)
        content[pages.state == ZERO] = 0
        frames = np.flatnonzero((pages.state == PRESENT) & ~settled)
        self.n_pages_read += len(frames)
        unshared = np.zeros(len(frames), np.bool_)
        if self._unshared:
            unshared = inside(pages.page[frames], self._unshared) & self.pagemap.exclusive(pages.page[frames])
        for rows, is_unshared in ((frames[~unshared], False), (frames[unshared], True)):
            if len(rows):
                found = content[rows]
                there[rows] = self._comparer.compare(
                    self.source.pid, pages.page[rows], found, unshared=is_unshared, in_time=self._stopper.in_time
                )
                content[rows] = found
        return there
