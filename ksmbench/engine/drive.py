"""Runs a design's compiled loop to its end: takes full buffers away, reports progress, lets signals in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ksmbench.engine.clock import NEVER, add_clock
from ksmbench.engine.cost import CostProfile
from ksmbench.engine.counters import N_COUNTERS, N_SAMPLED, Counter
from ksmbench.engine.machine import (
    COPIES_AT_EXIT,
    COPIES_AT_STOP,
    EVENT,
    EVERY_BATCH,
    FRAMES_NS,
    IGNORE_TUNE,
    KIND,
    LONGEST_DELAY_NS,
    NOW,
    PEAK_FRAMES,
    REFUSED,
    SETTLING,
    Machine,
)
from ksmbench.engine.samples import ASK, DONE, FULL, GROW, PAUSE, add_samples, take_away
from ksmbench.engine.turning import Turner, Turning, show_settings
from ksmbench.errors import UsageError

MAX_SAMPLES = 10_000_000
# Settings with which a replay would not end, also those that the trace or the advisor stores.
STANDS_STILL = 'sleep_millisecs=0 with cost "none": time would stand still; choose a cost profile'
NEVER_ENDS = "pages_to_scan=0 never ends a scan; say with --until when the replay ends"
_CHUNK = 4096

Progress = Callable[[float], None]  # told the part that is done, from 0 to 1


@dataclass(frozen=True)
class Timing:
    """When a replay begins, ends and looks."""

    start_ns: int
    until_ns: int = NEVER  # NEVER: until the counters settle
    period_ns: int = 0  # between samples; 0: none by time
    listed: npt.NDArray[np.int64] | None = None  # or the very times, ns
    every_batch: bool = False
    profile: CostProfile | None = None  # None: scanning takes no time
    with_spaces: bool = False
    ignore_tune: bool = False
    turner: Turner | None = None
    look: Callable[[Machine], None] | None = None  # is shown the state at every sample but the last
    at_end: Callable[[Machine], None] | None = None  # is shown the last state

    @property
    def settles(self) -> bool:
        """Whether the replay ends once the counters stay as they are."""
        return self.until_ns == NEVER


@dataclass
class Record:
    """What one design did on one trace."""

    rows: npt.NDArray[np.int64]  # [n, 1 + N_SAMPLED]
    spaces: npt.NDArray[np.int64]  # [n, N_SPACE_COLUMNS]
    last: npt.NDArray[np.int64]  # [1 + N_SAMPLED] the row at the end
    shown: npt.NDArray[np.int64]  # [n + 1, N_SHOWN] SHOWN_SETTINGS at each row, and at the end
    counters: npt.NDArray[np.int64]  # [N_COUNTERS] at the end
    start_ns: int
    end_ns: int
    frames_ns: float  # integral of frames over time
    dead_ns: float = 0.0  # the same of dead_pages
    longest_delay_ns: int = 0  # from an exit until the memory was free, or until the end
    copies_at_exit: int = 0  # frames copied as the sharing of exited processes was broken
    copies_at_stop: int = 0  # the same as a store to run broke it
    peak_frames: int = 0  # the most that were in use at one moment
    metadata_bytes: int = 0  # the design's own structures at the end
    refused_tunes: int = 0
    stores: list[tuple[int, str, int]] = field(default_factory=list)  # of a turner: time, setting, value
    refused_stores: int = 0
    wrong: list[str] = field(default_factory=list)  # what a recount found

    @property
    def mean_frames(self) -> float:
        """Frames in use, averaged over time."""
        span = self.end_ns - self.start_ns
        return self.frames_ns / span if span else float(self.last[1 + Counter.FRAMES])


def _record(
    machine: Machine,
    timing: Timing,
    parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    turning: Turning | None,
) -> Record:
    # What was taken away, and what the machine holds at its end.
    m = machine.m
    rows = np.concatenate([part[0] for part in parts])
    return Record(
        rows=np.ascontiguousarray(rows[:-1, : 1 + N_SAMPLED]),
        spaces=np.concatenate([part[1] for part in parts]),
        last=rows[-1, : 1 + N_SAMPLED],
        shown=rows[:, 1 + N_SAMPLED :],
        counters=m[:N_COUNTERS].copy(),
        start_ns=timing.start_ns,
        end_ns=int(m[NOW]),
        frames_ns=float(machine[FRAMES_NS][0]),
        dead_ns=float(machine[FRAMES_NS][1]),
        longest_delay_ns=int(m[LONGEST_DELAY_NS]),
        copies_at_exit=int(m[COPIES_AT_EXIT]),
        copies_at_stop=int(m[COPIES_AT_STOP]),
        peak_frames=int(m[PEAK_FRAMES]),
        refused_tunes=int(m[REFUSED]),
        stores=turning.stores if turning else [],
        refused_stores=turning.refused if turning else 0,
    )


def drive(
    step: Callable[[], int],
    machine: Machine,
    timing: Timing,
    *,
    n_spaces: int = 0,
    grow: Callable[[], None] | None = None,
    progress: Progress | None = None,
    budget: int | None = None,
    files: Mapping[str, int] | None = None,
) -> Record:
    """Set the clock of `machine`, call `step` until it is DONE and collect the samples; the last one is of the end.

    `budget` is the scalar that holds pages_to_scan, in designs that scan, and `files` are those of the settings that a
    trace may store to. Raises `UsageError` where time stands still.
    """
    profile = timing.profile
    add_clock(
        machine,
        timing.start_ns,
        timing.until_ns,
        period_ns=timing.period_ns,
        listed=timing.listed,
        weights=profile.weights() if profile else None,
        hz=profile.hz if profile else 0,
    )
    m = machine.m
    m[EVERY_BATCH] = timing.every_batch
    m[SETTLING] = timing.settles
    m[IGNORE_TUNE] = timing.ignore_tune
    show_settings(machine, files or {})
    turning = Turning(timing.turner, machine, files or {}) if timing.turner else None
    kept = n_spaces if timing.with_spaces else 0
    add_samples(machine, 1 if timing.look else _CHUNK, max(_CHUNK, 4 * kept) if kept else 0)
    parts = []
    total = 0
    seen = (-1, -1)  # time and event at the last pause
    status = FULL
    while status != DONE:
        status = step()
        if status == PAUSE:
            before, seen = seen, (int(m[NOW]), int(m[EVENT]))
            if timing.settles and budget is not None and m[EVENT] == len(machine[KIND]) and not m[budget]:
                raise UsageError(NEVER_ENDS)
            if budget is not None and timing.profile is None and seen == before:
                raise UsageError(STANDS_STILL)
        if status == ASK and turning is not None:
            turning.act(step)
        if status == GROW and grow is not None:
            grow()
        if status == FULL and timing.look is not None:
            timing.look(machine)
        if status in (FULL, DONE):
            parts.append(take_away(machine))
            total += len(parts[-1][0])
            if total > MAX_SAMPLES:
                raise UsageError(f"more than {MAX_SAMPLES:,} samples; sample less often, or end earlier with --until")
        if progress is not None and not timing.settles and timing.until_ns > timing.start_ns:
            progress((int(m[NOW]) - timing.start_ns) / (timing.until_ns - timing.start_ns))
    if timing.at_end is not None:
        timing.at_end(machine)
    return _record(machine, timing, parts, turning)
