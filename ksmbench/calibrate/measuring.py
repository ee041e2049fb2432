"""One load on the running kernel: ksmd's CPU time per batch, beside the work that the engine counts for that batch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench import designs
from ksmbench.engine.counters import ROW_COUNTERS, Counter
from ksmbench.engine.descents import LONGEST, N_TREES
from ksmbench.engine.drive import Timing
from ksmbench.engine.machine import DESCENTS, Machine
from ksmbench.engine.plan import make_plan
from ksmbench.errors import KsmbenchError
from ksmbench.trace.columns import Trace
from ksmbench.validate.kernel import play_on_kernel
from ksmbench.validate.sysfs import KsmSession

Floats = npt.NDArray[np.float64]

_DESIGN = "ksm-6.18"
_AGREE = ("full_scans", "pages_scanned", "pages_shared", "pages_sharing", "pages_unshared", "pages_skipped")


class DisagreementError(KsmbenchError):
    """Engine and kernel did not count the same."""


@dataclass(frozen=True)
class Load:
    """What ksmd is given to do: a trace, settings, how many batches, 20 ms apart.

    `spoiled` bytes are used by others before each batch, so that it begins with caches that hold nothing of its own.
    """

    name: str
    trace: Trace
    n_batches: int
    settings: dict[str, int] = field(default_factory=dict)
    spoiled: int = 0


@dataclass(frozen=True)
class Work:
    """What was done in each of n batches."""

    counters: npt.NDArray[np.int64]  # [n, len(ROW_COUNTERS)] of the batch alone
    descents: npt.NDArray[np.int64]  # [n, N_TREES, LONGEST] searches by tree and comparisons

    def __getitem__(self, counter: Counter) -> Floats:
        return self.counters[:, counter].astype(float)

    def __len__(self) -> int:
        return len(self.counters)


@dataclass(frozen=True)
class Counted:
    """A load with the work of each of its batches, and the counters after each, both by the engine."""

    load: Load
    work: Work
    rows: npt.NDArray[np.int64]  # [n, 1 + len(ROW_COUNTERS)] the time first


def count_work(trace: Trace, n_batches: int, settings: dict[str, int]) -> tuple[Work, npt.NDArray[np.int64]]:
    """The work of each batch by the engine, and the rows of time and counters after each.

    There are `n_batches` if ksmd never idles, else fewer in the same time.
    """
    plan = make_plan(trace)
    chosen = designs.find(_DESIGN)
    complete = designs.encoded(chosen, designs.complete_settings(chosen, settings))
    seen: list[npt.NDArray[np.int64]] = []

    def look(machine: Machine) -> None:
        seen.append(machine[DESCENTS].copy())

    until = plan.start_ns + n_batches * complete["sleep_millisecs"] * 1_000_000
    timing = Timing(start_ns=plan.start_ns, until_ns=until, every_batch=True, look=look)
    rows = chosen.run(trace, plan, complete, timing).rows
    rows = rows[rows[:, 0] < until]  # a batch at the very end is no sample that is shown
    if len(rows) == 0:
        raise KsmbenchError("ksmd has nothing to do in this load")
    before = np.zeros((1, rows.shape[1] - 1), np.int64)
    sums = np.array([np.zeros(N_TREES * LONGEST, np.int64), *seen[: len(rows)]], np.int64)
    descents = (sums[1:] - sums[:-1]).reshape(-1, N_TREES, LONGEST)
    return Work(np.diff(rows[:, 1:], axis=0, prepend=before), descents), rows


def count_load(load: Load) -> Counted:
    """What the engine says of the load."""
    return Counted(load, *count_work(load.trace, load.n_batches, load.settings))


def play_counted(counted: Counted, session: KsmSession | None = None, pages: int | None = None) -> Floats:
    """ksmd's CPU time for each batch, ns; raises `KsmbenchError` where the kernel counts otherwise than the engine."""
    load = counted.load
    options: dict[str, Any] = {**load.settings, "times": counted.rows[:, 0], "pages": pages, "spoiled": load.spoiled}
    played = play_on_kernel(load.trace, session=session, **options)
    for name in _AGREE:
        column = 1 + ROW_COUNTERS.index(name)
        if name in played.samples.columns and played.samples[name].to_list() != counted.rows[:, column].tolist():
            raise DisagreementError(
                f"{load.name}: this kernel's {name} differs from the engine's, so its work is not known: "
                "it is not Linux 6.18, or another process asked for merging meanwhile"
            )
    spent = np.array(played.ksmd_cpu_ns, float)
    if spent.min() < 0 or not spent.any():
        raise KsmbenchError(
            "this kernel does not tell ksmd's CPU time in /proc/PID/schedstat; calibrate on one with CONFIG_SCHED_INFO"
        )
    return spent
