"""The numbers that answer the review of 2009: what a design lost sight of, and what it held on to.

They are None for designs that do not count this, as all releases of Linux since 2.6.33.
"""

from collections.abc import Callable

import polars as pl

from ksmbench.engine.counters import REVIEW_COUNTERS
from ksmbench.metrics.metric import Inputs, Metric, last, most, ratio

_WASTED = ("steps_absent", "steps_dead", "steps_idle")


def _overrun(inputs: Inputs) -> int | None:
    merged, counted = inputs.last.get("frames_ksm"), inputs.last.get("kernel_pages_counted")
    return None if merged is None or counted is None else int(merged - counted)


def _overrun_most(inputs: Inputs) -> int | None:
    if _overrun(inputs) is None:
        return None
    found = inputs.samples.select((pl.col("frames_ksm") - pl.col("kernel_pages_counted")).max()).item()
    return int(found)


def _share_of_steps(name: str) -> Callable[[Inputs], float | None]:
    def compute(inputs: Inputs) -> float | None:
        steps = [inputs.last.get(each) for each in ("pages_scanned", *_WASTED)]
        if any(each is None for each in steps):
            return None
        return ratio(inputs.last[name], sum(each for each in steps if each is not None))

    return compute


def _if_tracked(compute: Callable[[Inputs], float | int]) -> Callable[[Inputs], float | int | None]:
    # Every replay tells this, but it means something only where a design may hold on to memory.
    def of_tracked(inputs: Inputs) -> float | int | None:
        tracked = any(inputs.last.get(name) is not None for name in REVIEW_COUNTERS)
        return compute(inputs) if tracked else None

    return of_tracked


TRACKING: tuple[Metric, ...] = (
    Metric(
        "lost_ptes",
        "tracking",
        "pages",
        "lost_ptes at the end",
        "page-table entries that map a merged frame which no structure of the design tracks",
        last("lost_ptes"),
        "less",
    ),
    Metric(
        "lost_ptes_most",
        "tracking",
        "pages",
        "highest sample of lost_ptes",
        "the same when it was most; as fine as the samples are",
        most("lost_ptes"),
        "less",
    ),
    Metric(
        "kernel_pages_counted",
        "tracking",
        "pages",
        "kernel_pages_counted at the end",
        "merged frames as the quota max_kernel_pages counts them",
        last("kernel_pages_counted"),
    ),
    Metric(
        "quota_overrun",
        "tracking",
        "pages",
        "frames_ksm - kernel_pages_counted at the end",
        "merged frames that the quota does not see; negative where it counts some that are gone",
        _overrun,
        "less",
    ),
    Metric(
        "quota_overrun_most",
        "tracking",
        "pages",
        "highest sample of frames_ksm - kernel_pages_counted",
        "the same when it was most; as fine as the samples are",
        _overrun_most,
        "less",
    ),
    Metric(
        "dead_byte_seconds",
        "tracking",
        "byte seconds",
        "integral over time of dead_pages * page",
        "memory that only exited processes held, times how long",
        _if_tracked(lambda i: i.unsampled.dead_ns / 1e9 * i.page_size),
        "less",
    ),
    Metric(
        "dead_pages_most",
        "tracking",
        "pages",
        "highest sample of dead_pages",
        "such memory when it was most; as fine as the samples are",
        most("dead_pages"),
        "less",
    ),
    Metric(
        "longest_exit_delay_s",
        "tracking",
        "s",
        "highest of free - exit over all processes; the end for free where it was not yet freed",
        "how long an exited process's memory was held at most",
        _if_tracked(lambda i: i.unsampled.longest_delay_ns / 1e9),
        "less",
    ),
    Metric(
        "copies_at_exit",
        "tracking",
        "pages",
        "frames copied in releasing exited processes",
        "copies that broke sharing only to be freed",
        _if_tracked(lambda i: i.unsampled.copies_at_exit),
        "less",
    ),
    Metric(
        "copies_at_stop",
        "tracking",
        "pages",
        "frames copied at stores to run",
        "copies that a stop of ksmd made",
        _if_tracked(lambda i: i.unsampled.copies_at_stop),
        "less",
    ),
    Metric(
        "frames_peak",
        "tracking",
        "pages",
        "highest number of frames at any moment",
        "frames in use when they were most, also between samples",
        _if_tracked(lambda i: i.unsampled.peak_frames),
        "less",
    ),
    *(
        metric
        for name, where in zip(
            _WASTED,
            ("addresses where nothing is", "exited processes", "address spaces with nothing mergeable"),
            strict=True,
        )
        for metric in (
            Metric(name, "tracking", "steps", f"{name} at the end", f"scan steps on {where}", last(name), "less"),
            Metric(
                f"{name}_share",
                "tracking",
                "share",
                f"{name} / (pages_scanned + steps_absent + steps_dead + steps_idle)",
                "part of all steps that these are",
                _share_of_steps(name),
                "less",
            ),
        )
    ),
    Metric(
        "wrprotect_ptes",
        "tracking",
        "pages",
        "wrprotect_ptes at the end",
        "page-table entries visited to write-protect pages",
        last("wrprotect_ptes"),
        "less",
    ),
)
