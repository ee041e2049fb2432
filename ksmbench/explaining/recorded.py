"""A trace at one moment: what is mapped in each space, who asked for merging, and what the pages hold."""

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ksmbench.engine.memory import FILE, MAPPED, MERGEABLE, NEVER
from ksmbench.errors import UsageError
from ksmbench.explaining import reasons
from ksmbench.explaining.area import Area, Held, Space, Subject, Verdict, combined
from ksmbench.reshape.memory import Memory
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import PAGE_LIMIT, Advice, Kind
from ksmbench.trace.tables import memory_limit

Progress = Callable[[float], None]
_FAR_S = 9e9  # more than a trace's clock holds
_STEPS = 50
_KEY_FLAGS = MAPPED | MERGEABLE | FILE | NEVER
_KERNELS_OWN = ("vdso", "vvar", "vsyscall", "uprobes")
_IN_MEMORY = ("/dev/zero", "/memfd:", "/dev/shm/", "/SYSV", "anon_shmem")


def _row_at(trace: Trace, at_s: float | None) -> int:
    # How many events have happened by then.
    times = trace.events.time_ns
    if at_s is None or not len(times):
        return len(times)
    if not abs(at_s) < _FAR_S:
        raise UsageError(f"--at {at_s:g}: must be a number of seconds of trace time")
    if round(at_s * 1e9) < int(times[0]):
        raise UsageError(f"--at {at_s:g}: the trace begins at {int(times[0]) / 1e9:g} s")
    return int(np.searchsorted(times, round(at_s * 1e9), side="right"))


def _settings(trace: Trace, row: int) -> dict[str, int | str]:
    # As the manifest has them, which others may have written, and as `tune` changed them since.
    host = trace.manifest.get("host")
    found = host.get("ksm") if isinstance(host, dict) else None
    settings: dict[str, int | str] = {}
    if isinstance(found, dict):
        settings = {str(name): value for name, value in found.items() if isinstance(value, int | str)}
    for i in np.flatnonzero(trace.events.kind[:row] == Kind.TUNE).tolist():
        settings[trace.names[trace.events.name[i]]] = int(trace.events.value[i])
    return settings


def _whether_it_ran(settings: dict[str, int | str]) -> list[str]:
    run = settings.get("run")
    if run is None:
        return ["whether KSM ran is not in the trace; a replay runs it"]
    if run == 1:
        return ["KSM ran on the recorded host (run 1); a trace holds contents, not what was merged"]
    return [f"KSM was off on the recorded host (run {run}): nothing was merged there; a replay runs it"]


def _release(trace: Trace) -> str:
    host = trace.manifest.get("host")
    return str(host.get("kernel", "")) if isinstance(host, dict) else ""


def _never(name: str, is_vm: bool) -> Verdict:
    # A trace only says that it never merges; the name tells more of some.
    if name.startswith(_KERNELS_OWN):
        return reasons.kernels_own()
    if name.startswith(("/dev/hugepages", "/anon_hugepage")):
        return reasons.hugetlb()
    if name.startswith(_IN_MEMORY):
        return reasons.shared_memory("" if is_vm else None)
    return reasons.never()


def _judge(flags: int, advice: int, name: str, *, is_vm: bool, merges_any: bool, has_prctl: bool) -> Verdict:
    if flags & NEVER:
        return _never(name, is_vm)
    is_file = bool(flags & FILE)
    if flags & MERGEABLE:
        return reasons.asked("prctl(PR_SET_MEMORY_MERGE)" if merges_any else "madvise(MADV_MERGEABLE)", is_file)
    if advice == Advice.UNMERGEABLE:
        return reasons.opted_out()
    if merges_any:
        return reasons.not_marked()
    return reasons.not_asked("" if is_vm else None, is_file, has_prctl)


class _Picture:
    """The areas of one space after another, and the entries that belong to each."""

    def __init__(self, trace: Trace, memory: Memory) -> None:
        self.areas: list[Area] = []
        self._trace, self._memory = trace, memory
        self._has_prctl = reasons.has_prctl(_release(trace))
        self._page_parts: list[npt.NDArray[np.int64]] = []
        self._area_parts: list[npt.NDArray[np.int64]] = []

    def add(self, space: int) -> None:
        """One space, as it stands."""
        memory, entries = self._memory, self._memory.entries(space)
        pages = memory.pages[entries]
        first = len(self.areas)
        self.areas += combined(self._areas_of(space, entries, pages))
        there = np.flatnonzero(memory.frame[entries] >= 0)
        starts = np.array([area.start for area in self.areas[first:]], np.int64)
        at = np.searchsorted(starts, pages[there], side="right") - 1 + first
        self._page_parts.append(there + entries.start)
        self._area_parts.append(at)

    def _areas_of(self, space: int, entries: slice, pages: npt.NDArray[np.int64]) -> list[Area]:
        # Every edge of a mapping has an entry, so a mapping goes on until an entry says otherwise.
        memory = self._memory
        flags = (memory.flags[entries] & _KEY_FLAGS).astype(np.int64)
        mapped = flags & (MAPPED | NEVER) != 0
        row = np.where(mapped, memory.mapped_by[entries], -1).astype(np.int64)
        advice = np.where(mapped, memory.asked[entries], 0).astype(np.int64)
        if not len(pages):
            return []
        new = np.ones(len(pages), np.bool_)
        new[1:] = (np.diff(row) != 0) | (np.diff(flags) != 0) | (np.diff(advice) != 0)
        starts = np.flatnonzero(new)
        ends = np.append(pages[starts[1:]], PAGE_LIMIT)
        is_vm = self._trace.spaces[space].kind == "vm"
        merges_any = memory.merges_any(space)
        result = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if not mapped[start]:
                continue
            name = self._name(int(row[start]))
            asked = (int(flags[start]), int(advice[start]), name)
            verdict = _judge(*asked, is_vm=is_vm, merges_any=merges_any, has_prctl=self._has_prctl)
            result.append(Area(space, int(pages[start]), end, name, verdict))
        return result

    def _name(self, row: int) -> str:
        number = int(self._trace.events.name[row]) if row >= 0 else -1
        return self._trace.names[number] if number >= 0 else ""

    def held(self) -> Held:
        """The pages that hold a frame."""
        none = np.zeros(0, np.int64)
        entries = np.concatenate([none, *self._page_parts])
        frame = self._memory.frame[entries].astype(np.int64)
        rank = self._memory.content[frame].astype(np.int64)
        area = np.concatenate([none, *self._area_parts])
        self._count(area, frame)
        _, dense = np.unique(frame, return_inverse=True)
        return Held(area, dense.astype(np.int64), rank)

    def _count(self, area: npt.NDArray[np.int64], frame: npt.NDArray[np.int64]) -> None:
        present = np.bincount(area, minlength=len(self.areas))
        huge = np.bincount(area[self._memory.folio[frame] >= 0], minlength=len(self.areas))
        for number, target in enumerate(self.areas):
            target.counts = {"present_pages": int(present[number]), "huge_pages": int(huge[number])}
            if huge[number] and target.verdict.able:
                target.notes = (reasons.HUGE_NOTE,)


def explained_trace(
    trace: Trace, *, at_s: float | None = None, max_memory: int | None = None, progress: Progress | None = None
) -> Subject:
    """Return what the trace's spaces hold after all events up to `at_s` seconds (default: its end).

    Raises `UsageError` for a time before the trace, `TraceError` where the pages that can be present need more than
    `max_memory` bytes (default: half of the machine's memory).
    """
    row = _row_at(trace, at_s)
    memory = Memory(trace, memory_limit() if max_memory is None else max_memory)
    for step in range(1, _STEPS + 1):
        memory.play(row * step // _STEPS)
        if progress is not None:
            progress(step / _STEPS)
    picture = _Picture(trace, memory)
    spaces = []
    for number, space in enumerate(trace.spaces):
        facts = {"ksm_merge_any": memory.merges_any(number), "alive": memory.is_alive(number)}
        spaces.append(Space(space.pid, space.name, space.kind, facts))
        if memory.is_alive(number):
            picture.add(number)
    settings = _settings(trace, row)
    time_ns = int(trace.events.time_ns[row - 1]) if row else 0
    at = time_ns / 1e9 if at_s is None else at_s
    return Subject(
        {"trace": os.fspath(trace.path) if trace.path else "", "at_s": at, "kernel": _release(trace)},
        trace.page_size,
        spaces,
        picture.areas,
        picture.held(),
        trace.contents.lcp,
        ksm=settings,
        first=_whether_it_ran(settings),
    )
