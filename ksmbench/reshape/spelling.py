"""The state of a space at some instant as events that build it: mappings, advice, contents, shared and huge frames.

A frame is written by the first space that is spelled with it; spaces that map it at the same page `share` it from
there. Where it lies at another page (what fork shared was moved by mremap since), a helper space, which holds nothing
afterwards, shares it, moves it and hands it on.
"""

from collections.abc import Mapping as Map
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ksmbench.engine.memory import DONTFORK, FILE, MAPPED, MERGEABLE, NEVER, WIPEONFORK
from ksmbench.reshape.memory import Memory
from ksmbench.trace.columns import Events
from ksmbench.trace.rows import Rows
from ksmbench.trace.schema import HUGE_PAGES, PAGE_LIMIT, Advice, Kind, Mapping

_NOWHERE = -1
Numbers = npt.NDArray[np.int64]


@dataclass
class Speller:
    """Writes states of `memory` into `rows`; `ids` are the numbers that spaces have there, the next is the helper's."""

    memory: Memory
    events: Events
    rows: Rows
    ids: Map[int, int]
    owner: Numbers = field(init=False)  # [n_frames] the entry that a frame can be shared from
    uses_helper: bool = False
    small_parts: int = 0  # pages of huge frames that became small ones

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing is spelled yet."""
        self.owner = np.full(len(self.memory.content), _NOWHERE, np.int64)

    def know(self, space: int, but: Numbers | None = None) -> None:
        """What a space maps is there already, except at the entries `but`."""
        entries = self._present(space)
        if but is not None:
            entries = np.setdiff1d(entries, but)
        self.owner[self.memory.frame[entries]] = entries

    def _present(self, space: int) -> Numbers:
        here = self.memory.entries(space)
        result: Numbers = here.start + np.flatnonzero(self.memory.frame[here] >= 0)
        return result

    def space(self, space: int, time_ns: int) -> None:
        """Everything that a space is and has."""
        if self.memory.merges_any(space):
            self.rows.add(time_ns, Kind.PRCTL, self.ids[space], value=1)
        self._mappings(space, time_ns)
        self._advice(space, time_ns)
        self.pages(space, self._present(space), time_ns, huge=True)

    def _runs(self, space: int, columns: list[npt.NDArray[np.int64]]) -> tuple[Numbers, Numbers, Numbers]:
        # The address space in pieces in which no column changes: first entry, first page, page after the last. A page
        # without an entry is as the entry before it.
        here = self.memory.entries(space)
        pages = self.memory.pages[here]
        if not len(pages):
            return (np.zeros(0, np.int64),) * 3
        changes = np.zeros(len(pages), np.bool_)
        changes[0] = True
        for column in columns:
            changes[1:] |= np.diff(column) != 0
        starts = np.flatnonzero(changes)
        return here.start + starts, pages[starts], np.append(pages[starts[1:]], PAGE_LIMIT)

    def _mappings(self, space: int, time_ns: int) -> None:
        here = self.memory.entries(space)
        flags = self.memory.flags[here].astype(np.int64)
        kinds = flags & (MAPPED | FILE | NEVER)
        first, page, end = self._runs(space, [kinds, self.memory.mapped_by[here].astype(np.int64)])
        kinds = self.memory.flags[first] & (MAPPED | FILE | NEVER)
        mapped = kinds != 0
        value = np.where(kinds & NEVER, Mapping.NEVER, np.where(kinds & FILE, Mapping.FILE, Mapping.ANONYMOUS))
        name = self.events.name[self.memory.mapped_by[first[mapped]]]
        n = (end - page)[mapped]
        self.rows.add(time_ns, Kind.MAP, self.ids[space], page[mapped], n, value[mapped], 0, name)

    def _advice(self, space: int, time_ns: int) -> None:
        here = self.memory.entries(space)
        flags, thp = self.memory.flags[here].astype(np.int64), self.memory.thp[here].astype(np.int64)
        if self.memory.merges_any(space):
            lost = (flags & MAPPED != 0) & (flags & MERGEABLE == 0)
            self._advise(space, time_ns, lost, Advice.UNMERGEABLE)
        else:
            self._advise(space, time_ns, flags & MERGEABLE != 0, Advice.MERGEABLE)
        self._advise(space, time_ns, flags & DONTFORK != 0, Advice.DONTFORK)
        self._advise(space, time_ns, flags & WIPEONFORK != 0, Advice.WIPEONFORK)
        for advice in (Advice.HUGEPAGE, Advice.NOHUGEPAGE):
            self._advise(space, time_ns, (flags != 0) & (thp == advice), advice)

    def _advise(self, space: int, time_ns: int, wanted: npt.NDArray[np.bool_], advice: Advice) -> None:
        first, page, end = self._runs(space, [wanted.astype(np.int64)])
        chosen = wanted[first - self.memory.entries(space).start]
        n = (end - page)[chosen]
        if len(n):
            self.rows.add(time_ns, Kind.MADVISE, self.ids[space], page[chosen], n, int(advice))

    def pages(self, space: int, entries: Numbers, time_ns: int, *, huge: bool = False) -> None:
        """What the space maps at the present `entries`, ascending; with `huge` also as parts of huge frames."""
        memory = self.memory
        frames = memory.frame[entries]
        fresh = np.flatnonzero(self.owner[frames] == _NOWHERE)
        _, first = np.unique(frames[fresh], return_index=True)  # mapped twice here: written once
        fresh = np.sort(fresh[first])
        written = entries[fresh]
        if huge:
            written = self._huge(space, written, time_ns)
        elif len(written):
            self.small_parts += int(np.count_nonzero(memory.folio[memory.frame[written]] >= 0))
        self._write(space, written, time_ns)
        rest = np.delete(entries, fresh)
        self.owner[frames[fresh]] = entries[fresh]
        self._share(space, rest, self.owner[memory.frame[rest]], time_ns)

    def _write(self, space: int, entries: Numbers, time_ns: int) -> None:
        memory, frames = self.memory, self.memory.frame[entries]
        pages, contents = memory.pages[entries], memory.content[frames].astype(np.int64)
        self.rows.add_runs(time_ns, Kind.WRITE, self.ids[space], pages, contents, memory.node[frames])

    def _huge(self, space: int, entries: Numbers, time_ns: int) -> Numbers:
        # Builds the huge frames of which every part can be made here, and returns the other entries.
        memory = self.memory
        folios = memory.folio[memory.frame[entries]]
        parts = entries[folios >= 0]
        blocks = memory.pages[parts] // HUGE_PAGES
        done = []
        for block in np.unique(blocks).tolist():
            there = self._huge_block(space, parts[blocks == block], block)
            if there is None:
                continue
            self._build(space, there, block, time_ns)
            done.append(there)
        built = np.concatenate(done) if done else np.zeros(0, np.int64)
        self.small_parts += len(parts) - len(built)
        return np.setdiff1d(entries, built)

    def _huge_block(self, space: int, parts: Numbers, block: int) -> Numbers | None:
        # The entries, where the block is (or was, before parts went) one huge frame that nobody has any part of yet.
        memory, here = self.memory, self.memory.entries(space)
        frames = memory.frame[parts]
        folio = int(memory.folio[frames[0]])
        place = memory.pages[parts] - block * HUGE_PAGES
        whole = memory.folio_frames[folio * HUGE_PAGES : (folio + 1) * HUGE_PAGES]
        if not np.array_equal(whole[place], frames):
            return None  # of two huge frames, or moved since
        low, high = np.searchsorted(memory.pages[here], (block * HUGE_PAGES, (block + 1) * HUGE_PAGES))
        flags = memory.flags[here][low:high]
        if len(flags) < HUGE_PAGES or (flags & (MAPPED | FILE) != MAPPED).any():
            return None
        used = whole[(memory.folio[whole] == folio) & (memory.mapcount[whole] > 0)]
        return parts if (self.owner[used] == _NOWHERE).all() else None

    def _build(self, space: int, parts: Numbers, block: int, time_ns: int) -> None:
        memory, rows, number = self.memory, self.rows, self.ids[space]
        start, pages, nodes = block * HUGE_PAGES, memory.pages[parts], memory.node[memory.frame[parts]]
        self._write(space, parts, time_ns)
        rows.add(time_ns, Kind.HUGE, number, start, HUGE_PAGES, node=int(nodes[0]))
        elsewhere = nodes != nodes[0]
        rows.add_runs(time_ns, Kind.MIGRATE, number, pages[elsewhere], nodes[elsewhere])
        gone = np.setdiff1d(np.arange(start, start + HUGE_PAGES), pages)
        rows.add_runs(time_ns, Kind.MADVISE, number, gone, int(Advice.DONTNEED))

    def _share(self, space: int, entries: Numbers, sources: Numbers, time_ns: int) -> None:
        if not len(entries):
            return
        pages, from_pages = self.memory.pages[entries], self.memory.pages[sources]
        others = self.memory.space_of(sources)
        direct = (pages == from_pages) & (others != space)
        for other in np.unique(others[direct]).tolist():
            chosen = direct & (others == other)
            self.rows.add_runs(time_ns, Kind.SHARE, self.ids[space], pages[chosen], self.ids[other])
        self._detour(space, pages[~direct], others[~direct], from_pages[~direct], time_ns)

    def _detour(self, space: int, pages: Numbers, others: Numbers, from_pages: Numbers, time_ns: int) -> None:
        if not len(pages):
            return
        self.uses_helper = True
        helper, rows = len(self.ids), self.rows
        distance = pages - from_pages
        breaks = (np.diff(pages) != 1) | (np.diff(others) != 0) | (np.diff(distance) != 0)
        starts = np.concatenate([[0], np.flatnonzero(breaks) + 1]).tolist()
        for start, end in zip(starts, [*starts[1:], len(pages)], strict=True):
            gap = abs(int(distance[start])) or end - start
            for i in range(start, end, gap):  # mremap refuses overlapping ranges
                n = min(gap, end - i)
                page, source = int(pages[i]), int(from_pages[i])
                rows.add(time_ns, Kind.MAP, helper, source, n)
                rows.add(time_ns, Kind.SHARE, helper, source, n, self.ids[int(others[i])])
                if page != source:
                    rows.add(time_ns, Kind.MOVE, helper, source, n, page)
                rows.add(time_ns, Kind.SHARE, self.ids[space], page, n, helper)
                rows.add(time_ns, Kind.UNMAP, helper, page, n)
