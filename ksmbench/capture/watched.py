"""One process under capture: its life, and how a look at it goes."""

import os
import select
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ksmbench.capture.changes import Changes, Shared
from ksmbench.capture.descriptors import check_room
from ksmbench.capture.known import shifted, union, within, without
from ksmbench.capture.pagemap import PageMap, Pages, join, no_pages, only
from ksmbench.capture.procfs import (
    DeniedError,
    Mapping,
    ProcessGoneError,
    program_identity,
    read_text,
)
from ksmbench.capture.sources import Source, find_followed, never_shared
from ksmbench.trace.schema import PAGE_LIMIT, Kind
from ksmbench.trace.schema import Mapping as MappingKind

_EXECVE_S = 0.002
_LAYOUTS = 3  # times that a look begins anew, at most, because mappings changed


class Watched(Changes):
    """A process under capture; row `space` of the trace's spaces.

    Memory is held as numbers, one each per page that is there: of its content in the store, of the kernel's frame, and
    of the frame that it has in a replay of what is recorded. A process with a `parent` that is under capture too
    begins, where it executed nothing else since, as the parent's copy.
    """

    def __init__(
        self, source: Source, space: int, shared: Shared, parent: "Watched | None" = None, *, is_gone: bool = False
    ) -> None:
        """Raises `ProcessGoneError` where there is no such process, unless it is known that it `is_gone`.

        Of such a one the trace holds what its system calls tell.
        """
        super().__init__(source, space, shared)
        self.parent = parent
        self.born_ns = -1  # when the trace begins to tell of it
        self.denied: DeniedError | None = None  # why it could not be looked at any more
        # Pages whose mapping a call changed since the look that goes on saw them: [start, end) each.
        self.disturbed: list[tuple[int, int]] = []
        self._shared, self._catch_up = shared, shared.catch_up
        self._n_pages = 0  # once it has ended
        self._program: tuple[str, ...] = ()
        self._has_forked = False  # since the look that goes on began
        self._handle = -1
        if not is_gone:
            self._open()

    def _open(self) -> None:
        try:
            handle = os.pidfd_open(self.source.pid)
        except ProcessLookupError:
            raise ProcessGoneError from None
        check_room(handle)
        self._handle = handle
        try:
            self._program = program_identity(self.source.pid)  # first: one that it executes from here on is noticed
            self._pagemap = PageMap(self.source.pid)
        except BaseException:
            os.close(self._handle)
            self._handle = -1
            raise

    def close(self) -> None:
        """Close the descriptors."""
        if self._pagemap is not None:
            self._pagemap.close()
            self._pagemap = None
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    @property
    def n_mappings(self) -> int:
        """How many mappings whose contents are recorded there are now."""
        return sum(m.kind != MappingKind.NEVER for m in self.memory.mappings)

    @property
    def n_pages(self) -> int:
        """How many pages were not absent at the last look at which the process ran."""
        return len(self.memory.pages.page) if self.alive else self._n_pages

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._ends_within(0)

    def _ends_within(self, milliseconds: int) -> bool:
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def look(self, clock: Callable[[], int]) -> None:
        """Record what changed since the last look, as of when it began; an end of the process becomes `exit`.

        So does its executing what we may not look at (a setuid program, where we have no rights). System calls that are
        told are applied before and after; the changes that a look finds stand after them. Raises `DeniedError` where
        the trace has told nothing of it yet.
        """
        self._catch_up()
        if not self.alive:
            return
        now = clock()
        if not self.is_readable:  # it is gone, and what told of it lost its end
            self.end(max(now, self._recorder.last_time_ns))
            return
        try:
            if self.ended:
                raise ProcessGoneError
            self._stopper.stop(self.source.pid)
            now = clock()
            self._look(now)
        except ProcessGoneError:
            if not self.alive or not self._gone():
                return
            self._catch_up()
            if self.alive:
                self.end(max(now, self._recorder.last_time_ns))
        except DeniedError as error:
            if not self.alive:
                return
            if self.born_ns < 0:
                raise
            self._deny(max(now, self._recorder.last_time_ns), error)
        finally:
            self._stopper.go()

    def end(self, now: int) -> None:
        """The process ended."""
        if self.born_ns >= 0 or self.parent is None:
            self._recorder.add(now, Kind.EXIT, self.space)
        self._n_pages = self.n_pages
        self.memory.forget()
        self.alive = False
        self.close()
        self._shared.ended(self)

    def _deny(self, now: int, error: DeniedError) -> None:
        # It runs on, but for the trace it has ended.
        self.denied = error
        self.end(now)

    def _gone(self) -> bool:
        # Its memory goes a moment before its descriptor tells.
        return self._ends_within(1000)

    def _look(self, now: int) -> None:
        self._has_forked = False
        program = program_identity(self.source.pid)
        if program != self._program:
            program = self._whole_program(program)
            self._catch_up()
            if not self.alive:
                return
        if program != self._program:  # and no call told of it
            self._reopen()
            self._begin_program(max(now, self._recorder.last_time_ns))
        if self.born_ns < 0:
            if self.parent is not None and self.parent.alive and program == self.parent._program:
                self.begin_as_copy(max(now, self._recorder.last_time_ns), self.parent)
            self.born_ns = now
        mappings, pages = self._see()
        if not self.alive:
            return
        if not self._shared.are_calls_told:
            self._record_moves(max(now, self._recorder.last_time_ns), mappings, pages)
        content, read = self._contents(pages)
        self._catch_up()
        if not self.alive:
            return
        if self.disturbed:
            mappings, pages, content, read = self._left_to_next_look(mappings, pages, content, read)
        now = max(now, self._recorder.last_time_ns)
        self._record_mappings(now, mappings)
        self._record_pages(now, pages, content, read)
        self._is_settled = not self._has_forked

    def _see(self) -> tuple[list[Mapping], Pages]:
        # Mappings and the pages in them belong together where none came or went in between: what mremap moved just
        # then would be nowhere. Who changes them all the time is seen as it is.
        for _ in range(_LAYOUTS):
            self.disturbed = []
            layout = read_text(self.source.pid, "maps")
            mappings = self.source.mappings()
            self._unshared = never_shared(self.source, mappings)
            pages = self._there(mappings)
            self._catch_up()
            if not self.disturbed and read_text(self.source.pid, "maps") == layout:
                break
        program_identity(self.source.pid)  # if it ended meanwhile, its memory was not absent but gone
        return mappings, pages

    def _there(self, mappings: list[Mapping]) -> Pages:
        there = [self.pagemap.look(m.start, m.end) for m in mappings if m.kind != MappingKind.NEVER]
        return join(there or [no_pages()])

    def _left_to_next_look(
        self,
        mappings: list[Mapping],
        pages: Pages,
        content: npt.NDArray[np.int64],
        read: npt.NDArray[np.bool_],
    ) -> tuple[list[Mapping], Pages, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        # What was seen, but where calls came meanwhile: there it is as they made it of what was known.
        known = self.memory
        ranges = union(self.disturbed)
        parts = [part for start, end in ranges for part in shifted(known.mappings, start, end, 0)]
        for start, end in ranges:
            mappings = without(mappings, start, end)
        outside = ~within(pages.page, ranges)
        here = within(known.pages.page, ranges)
        pages = join([only(pages, outside), only(known.pages, here)])
        content = np.concatenate([content[outside], known.content[here]])
        read = np.concatenate([read[outside], np.ones(np.count_nonzero(here), np.bool_)])
        order = np.argsort(pages.page)
        return sorted([*mappings, *parts], key=lambda m: m.start), only(pages, order), content[order], read[order]

    def begin_as_copy(self, now: int, parent: "Watched") -> None:
        """What fork does with each mapping's advice, and with the pages below it."""
        self._recorder.add(now, Kind.FORK, parent.space, value=self.space)
        self.memory.become_copy(parent.memory)
        self.born_ns = now
        # What either wrote before the fork and since the last look is to be read.
        self._is_settled = parent._is_settled = False
        parent._has_forked = True

    def execute(self, now: int, name: str) -> None:
        """The process began another program, as a call told."""
        try:
            if self.is_readable:
                self._reopen()
        except ProcessGoneError:
            self.source = replace(self.source, name=name[:15] or self.source.name)
        except DeniedError as error:
            self._deny(now, error)
            return
        self._begin_program(now)
        self.disturbed.append((0, PAGE_LIMIT))

    def _whole_program(self, program: tuple[str, ...]) -> tuple[str, ...]:
        # execve shows its parts one after the other.
        while True:
            time.sleep(_EXECVE_S)
            now = program_identity(self.source.pid)
            if now == program:
                return program
            program = now

    def _reopen(self) -> None:
        self._program = program_identity(self.source.pid)
        pagemap = PageMap(self.source.pid)  # the old one shows the page table that was there when it was opened
        self.pagemap.close()
        self._pagemap = pagemap
        if self.source.follow:
            self.source = find_followed(self.source.pid, self.source.selection)

    def _begin_program(self, now: int) -> None:
        if self.born_ns >= 0:
            self._recorder.add(now, Kind.EXEC, self.space)
        self.memory.clear()
