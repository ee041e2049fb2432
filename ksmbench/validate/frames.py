"""What the page tables say: which frames the mappings of a trace's spaces use, and which of them are KSM's."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind

_PRESENT = 1 << 63
_FILE_OR_SHARED = 1 << 61
_FRAME = (1 << 55) - 1
_KPF_KSM = 1 << 21
_KPF_ZERO = 1 << 24
_KPF_ANON = 1 << 12


def _ranges(trace: Trace) -> npt.NDArray[np.int64]:
    # Every page range that the trace ever maps, merged.
    events = trace.events
    maps = events.kind == Kind.MAP
    moves = events.kind == Kind.MOVE
    starts = np.concatenate([events.page[maps], events.value[moves]])
    ends = starts + np.concatenate([events.n_pages[maps], events.n_pages[moves]])
    merged: list[list[int]] = []
    for start, end in sorted(zip(starts.tolist(), ends.tolist(), strict=True)):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged, np.int64).reshape(-1, 2)


def _read(path: Path, first: int, n: int) -> npt.NDArray[np.uint64]:
    handle = os.open(path, os.O_RDONLY)
    try:
        return np.frombuffer(os.pread(handle, n * 8, first * 8), np.uint64)
    finally:
        os.close(handle)


def count_frames(trace: Trace, pids: dict[int, int]) -> dict[str, int]:
    """`pages_anon`, `frames` and `frames_ksm` over the processes `pids` (space to pid), as the kernel has them."""
    frames: list[npt.NDArray[np.uint64]] = []
    for pid in pids.values():
        for first, last in _ranges(trace):
            words = _read(Path(f"/proc/{pid}/pagemap"), int(first), int(last - first))
            frames.append(words[words & np.uint64(_PRESENT) != 0] & np.uint64(_FRAME))
    entries = np.concatenate(frames) if frames else np.zeros(0, np.uint64)
    used, times = np.unique(entries, return_counts=True)
    flags = np.array([_read(Path("/proc/kpageflags"), int(frame), 1)[0] for frame in used], np.uint64)
    zero = flags & np.uint64(_KPF_ZERO) != 0
    ksm = flags & np.uint64(_KPF_KSM) != 0
    anon = (flags & np.uint64(_KPF_ANON) != 0) & ~zero
    return {
        "pages_anon": int(times[anon].sum()),
        "frames": int(np.count_nonzero(anon)),
        "frames_ksm": int(np.count_nonzero(ksm & anon)),
    }
