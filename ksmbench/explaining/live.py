"""Running processes at one moment: every mapping, and the contents of the pages that are there.

No page that is absent is read, and nothing is stopped: pages that change meanwhile are taken as they are read.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ksmbench.capture.guests import guest_memory, is_guest, name_of_guest
from ksmbench.capture.host import available_bytes
from ksmbench.capture.pagemap import PRESENT, SWAPPED, ZERO, PageMap, Pages
from ksmbench.capture.procfs import (
    PAGE_SIZE,
    ProcessGoneError,
    command_name,
    is_kernel_thread,
    parse_smaps,
    read_text,
    stat_fields,
)
from ksmbench.capture.reading import PIECE_PAGES, Reader
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.explaining import reasons
from ksmbench.explaining.area import Area, Held, Space, Subject, Verdict, combined
from ksmbench.explaining.host import (
    dax_mounts,
    has_assigned_device,
    host_settings,
    n_pinned_kib,
    process_facts,
    program_of,
    whether_it_runs,
)
from ksmbench.explaining.vmas import Vma, judge, notes_of, parse_vmas
from ksmbench.trace.ranking import ContentStore

Progress = Callable[[float], None]
_LEAST_MEMORY = 256 << 20
_GONE = "a process ended while it was looked at; explain those that run"


@dataclass
class _Process:
    pid: int
    space: Space
    areas: list[Area]


@dataclass
class _Read:
    """The pages read of one area: their frames (0 where the kernel hides them) and contents."""

    area: int
    frame: npt.NDArray[np.int64]
    content: npt.NDArray[np.int64]


def _check(pid: int) -> str:
    # The name of a process that has memory.
    try:
        name = command_name(pid)
        if is_kernel_thread(pid):
            raise UsageError(f"process {pid} ({name}) is a kernel thread, which has no memory of its own")
        if stat_fields(pid)[0] in "ZX":
            raise UsageError(f"process {pid} ({name}) has ended and holds no memory any more")
    except ProcessGoneError:
        raise UsageError(f"there is no process {pid}; ps lists those that run") from None
    return name


def _guest_ranges(pid: int, smaps: str) -> dict[int, str]:
    # First page and name of guest memory, where the process runs a guest.
    return {m.start: m.name for m in guest_memory(parse_smaps(smaps))} if is_guest(pid) else {}


def _areas(pid: int, row: int, space: Space) -> list[Area]:
    smaps = read_text(pid, "smaps")
    guest = _guest_ranges(pid, smaps)
    vmm = reasons.vmm_of(program_of(pid)) if guest else None
    mounts = dax_mounts(pid)
    can_prctl = reasons.has_prctl(platform.release())
    areas = []
    for vma in parse_vmas(smaps):
        first = vma.start // PAGE_SIZE
        verdict = judge(
            vma,
            vmm=(vmm or "") if first in guest else None,
            merges_any=space.facts.get("ksm_merge_any"),
            has_prctl=can_prctl,
            is_dax=vma.name.startswith("/dev/dax") or any(vma.name.startswith(f"{place}/") for place in mounts),
        )
        name = guest.get(first) or vma.name.strip("[]")
        notes = notes_of(vma) if verdict.could_be_able else ()
        areas.append(Area(row, first, vma.end // PAGE_SIZE, name, verdict, notes, counts=_counts(vma, verdict)))
    return combined(areas)


def _counts(vma: Vma, verdict: Verdict) -> dict[str, int]:
    kib = vma.kib
    is_cache = vma.is_file and (verdict.able or not verdict.could_be_able)
    pages = {
        "merged_pages": kib.get("KSM", 0),
        "page_cache_pages": max(0, kib.get("Rss", 0) - kib.get("Anonymous", 0)) if is_cache else 0,
        "huge_pages": kib.get("AnonHugePages", 0),
        "locked_pages": kib.get("Locked", 0) if "lo" in vma.flags else 0,
    }
    return {name: n * 1024 // PAGE_SIZE for name, n in pages.items()}


def _space(pid: int, name: str) -> Space:
    is_vm = is_guest(pid)
    space = Space(pid, name_of_guest(pid) if is_vm else name, "vm" if is_vm else "process", process_facts(pid))
    if has_assigned_device(pid) or n_pinned_kib(pid):
        space.notes.append(reasons.PINNED_NOTE)
    facts = space.facts
    if host_settings().get("run") == 1 and facts.get("ksm_mergeable") and facts.get("ksm_rmap_items") == 0:
        space.notes.append("ksmd has not come to this process yet")
    return space


def _process(pid: int, row: int, name: str) -> _Process:
    space = _space(pid, name)
    return _Process(pid, space, _areas(pid, row, space))


def _look(pagemap: PageMap, area: Area) -> Pages:
    # Shared memory is asked for too: what it would save if it were private.
    return pagemap.look(area.start, area.end, files=not area.verdict.able)


class _Snapshot:
    def __init__(self, store: ContentStore, progress: Progress | None) -> None:
        self.store = store
        self.read: list[_Read] = []
        self._reader = Reader()
        self._progress = progress
        self._done = self._total = 0

    def take(self, processes: list[_Process]) -> None:
        """Read the pages that are there."""
        self._total = max(1, sum(a.n_pages for p in processes for a in p.areas if a.verdict.could_be_able))
        first = 0
        for process in processes:
            pagemap = PageMap(process.pid)
            try:
                for number, area in enumerate(process.areas):
                    if area.verdict.could_be_able:
                        self._take(process, pagemap, area, first + number)
            finally:
                pagemap.close()
            first += len(process.areas)

    def _take(self, process: _Process, pagemap: PageMap, area: Area, number: int) -> None:
        pages = _look(pagemap, area)
        for name, state in (("present_pages", PRESENT), ("zero_page_pages", ZERO), ("swapped_pages", SWAPPED)):
            area.counts[name] = int(np.count_nonzero(pages.state == state))
        present = np.flatnonzero(pages.state == PRESENT)
        n_read = 0
        for start in range(0, len(present), PIECE_PAGES):
            piece = present[start : start + PIECE_PAGES]
            data, there = self._reader.read(process.pid, pages.page[piece])
            content = self.store.add(np.ascontiguousarray(data[there]))
            self.read.append(_Read(number, pages.pfn[piece][there], content))
            n_read += len(content)
            if self._progress is not None:
                self._progress(min(1.0, (self._done + area.n_pages * start / len(present)) / self._total))
        area.counts["unread_pages"] = len(present) - n_read
        self._done += area.n_pages

    def held(self, rank: npt.NDArray[np.int64]) -> Held:
        """What was read, as numbers; where the kernel hides frames, every page counts as having its own."""
        parts = self.read
        none = np.zeros(0, np.int64)
        area = np.concatenate([none, *(np.full(len(part.content), part.area) for part in parts)])
        frame = np.concatenate([none, *(part.frame for part in parts)])
        content = np.concatenate([none, *(part.content for part in parts)])
        hidden = frame == 0
        frame[hidden] = -1 - np.arange(np.count_nonzero(hidden))
        _, dense = np.unique(frame, return_inverse=True)
        return Held(area, dense.astype(np.int64), rank[content])


def explain_processes(
    pids: Sequence[int], look: Callable[[Subject], None], *, progress: Progress | None = None
) -> None:
    """Call `look` with what the processes hold now; their contents are at hand during that call and no longer.

    Raises `UsageError` where one does not exist or has no memory, `KsmbenchError` where it may not be read or ends.
    """
    settings = host_settings()
    pids = list(dict.fromkeys(pids))
    names = [_check(pid) for pid in pids]
    try:
        processes = [_process(pid, row, name) for row, (pid, name) in enumerate(zip(pids, names, strict=True))]
    except ProcessGoneError:
        raise KsmbenchError(_GONE) from None
    with ContentStore(PAGE_SIZE, memory_bytes=max(_LEAST_MEMORY, available_bytes() // 4)) as store:
        snapshot = _Snapshot(store, progress)
        try:
            snapshot.take(processes)
        except ProcessGoneError:
            raise KsmbenchError(_GONE) from None
        ranking = store.rank(private=False)
        stored = np.empty(len(ranking.rank), np.int64)
        stored[ranking.rank] = np.arange(len(stored))
        look(
            Subject(
                {"pids": pids, "kernel": platform.release()},
                PAGE_SIZE,
                [process.space for process in processes],
                [area for process in processes for area in process.areas],
                snapshot.held(ranking.rank),
                ranking.contents.lcp,
                None if store.on_disk else store.words,
                None if store.on_disk else stored,
                settings,
                whether_it_runs(settings),
            )
        )
