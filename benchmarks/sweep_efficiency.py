"""How much of the cores a sweep uses, by processes and by threads.

    python -m benchmarks.sweep_efficiency [TRACE] [--replays 200] [--until 60]

The grid is pages_to_scan x sleep_millisecs. Two figures: `wall` compares the sweep with the CPU seconds that the same
replays take one by one, on all cores without a pause; it is the plain one, for a machine that does nothing else. `own`
is what the sweep answers for on a shared one too: the part of its time in which workers are in a replay, times how
much less CPU a replay takes alone than beside others.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ksmbench.replaying import replay
from ksmbench.sweeping import sweep
from ksmbench.sweeping.executors import Workers
from ksmbench.trace.store import open_trace

SLEEPS = (10, 20, 30, 50)
ALONE = 10  # one in so many is replayed alone too


def timed(log: str, function: Callable[..., Any], *args: Any) -> Any:
    """Calls `function` and notes how long that took, and how much CPU time of this thread."""
    begin, cpu = time.monotonic(), time.thread_time()
    result = function(*args)
    with open(log, "a", encoding="utf-8") as lines:
        lines.write(f"{time.monotonic() - begin} {time.thread_time() - cpu}\n")
    return result


class TimedWorkers(Workers):
    """Workers that note how long each call takes."""

    log: str

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(timed, self.log, function, *args, **kwargs)


class TimedThreads(ThreadPoolExecutor):
    """Threads that do."""

    log: str

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(timed, self.log, function, *args, **kwargs)


def alone(path: str, vary: dict[str, list[int]], until: float) -> float:
    """CPU seconds of a replay of the grid, one by one: the mean over one in ALONE of them."""
    trace = open_trace(path)
    points = [(pages, sleep) for pages in vary["pages_to_scan"] for sleep in vary["sleep_millisecs"]][::ALONE]
    replay(trace, until=until)  # compile
    begin = time.thread_time()
    for pages, sleep in points:
        replay(trace, until=until, pages_to_scan=pages, sleep_millisecs=sleep)
    return (time.thread_time() - begin) / len(points)


def main() -> None:
    """Print the figures of both executors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", nargs="?", default="traces/debian-idle-x4")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--until", type=float, default=60.0)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    pages = [100 + 20 * i for i in range(given.replays // len(SLEEPS))]
    vary = {"pages_to_scan": pages, "sleep_millisecs": list(SLEEPS)}
    for kind in (TimedWorkers, TimedThreads):
        cpu_alone = alone(given.trace, vary, given.until)
        with tempfile.TemporaryDirectory() as folder:
            pool = kind(cores)
            pool.log = str(Path(folder) / "log")
            begin, spent = time.monotonic(), 0.0

            def tell(done: int, total: int, begin: float = begin) -> None:
                nonlocal spent
                spent = time.monotonic() - begin

            sweep(given.trace, vary=vary, until=given.until, executor=pool, progress=tell)
            pool.shutdown()
            rows = [tuple(map(float, line.split())) for line in Path(pool.log).read_text().splitlines()]
        n = len(rows)
        busy = sum(row[0] for row in rows) / (cores * spent)
        cpu = sum(row[1] for row in rows) / n
        wall, own = n * cpu_alone / cores / spent, busy * min(1.0, cpu_alone / cpu)
        print(
            f"{kind.__name__:<13} {n} replays on {cores} cores in {spent:.1f} s, {cpu:.3f} s of CPU each (alone "
            f"{cpu_alone:.3f}); in a replay {busy:.1%} of the time; wall {wall:.1%}, own {own:.1%}, "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    from benchmarks.sweep_efficiency import main as importable  # a worker must find `timed` by its module

    importable()
