"""The numbers that a replay is summed up in, each defined here or in `ksmbench.metrics.tracking` and nowhere else.

`n` stands for the design `none` and `o` for `oracle` on the same trace at the same times; `page` is the page size.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from ksmbench.metrics.metric import GROUPS, Inputs, Metric, Unsampled, last, ratio
from ksmbench.metrics.tracking import TRACKING

GIB = 1 << 30
NEARLY_ALL = 0.9


def _cpu_s(inputs: Inputs) -> float | None:
    spent = inputs.last["cpu_ns"]
    return None if spent is None else spent / 1e9


def _time_to_90_percent(inputs: Inputs) -> float | None:
    final = inputs.saved_pages[-1]
    if final <= 0:
        return None
    first = (inputs.saved_pages >= NEARLY_ALL * final).arg_max()
    return None if first is None else float(inputs.times[first] - inputs.start_ns) / 1e9


METRICS: tuple[Metric, ...] = (
    Metric(
        "saved_bytes",
        "memory",
        "bytes",
        "(frames of n at the end - frames at the end) * page",
        "memory saved at the end of the replay; negative where merging cost more than it saved",
        lambda i: i.saved_bytes,
        "more",
    ),
    Metric(
        "saved_bytes_mean",
        "memory",
        "bytes",
        "(mean over time of frames of n - mean over time of frames) * page",
        "the same over the whole replay: what was saved on average",
        lambda i: (i.mean_frames_none - i.mean_frames) * i.page_size,
        "more",
    ),
    Metric(
        "saved_bytes_net",
        "memory",
        "bytes",
        "saved_bytes - metadata_bytes",
        "what is left after the design's own structures",
        lambda i: i.saved_bytes - i.metadata_bytes,
        "more",
    ),
    Metric(
        "metadata_bytes",
        "memory",
        "bytes",
        "items, nodes and slots at the end",
        "the design's structures",
        lambda i: i.metadata_bytes,
        "less",
    ),
    Metric(
        "oracle_saved_bytes",
        "memory",
        "bytes",
        "(frames of n at the end - frames of o at the end) * page",
        "what merging all mergeable memory at once would save, zero pages for nothing",
        lambda i: i.oracle_saved_bytes,
    ),
    Metric(
        "oracle_share",
        "memory",
        "share",
        "saved_bytes / oracle_saved_bytes",
        "part of what could be saved at best",
        lambda i: ratio(i.saved_bytes, i.oracle_saved_bytes),
        "more",
    ),
    Metric("frames", "memory", "pages", "frames at the end", "frames in use", last("frames"), "less"),
    Metric(
        "merge_ratio",
        "merging",
        "ratio",
        "pages_sharing / pages_shared",
        "pages saved per merged frame, as the kernel counts them",
        lambda i: ratio(i.last["pages_sharing"], i.last["pages_shared"]),
        "more",
    ),
    Metric(
        "time_to_90_percent_s",
        "merging",
        "s",
        "first sample with saved >= 0.9 * its own saving at the end, since the start",
        "how long it took to get nearly there; as fine as the samples are",
        _time_to_90_percent,
        "less",
    ),
    Metric(
        "merges",
        "merging",
        "pages",
        "merges at the end",
        "page-table entries redirected to another frame",
        last("merges"),
    ),
    Metric(
        "cow_breaks",
        "merging",
        "pages",
        "cow_breaks at the end",
        "merged pages that were written and copied again",
        last("cow_breaks"),
        "less",
    ),
    Metric(
        "scan_cost_cpu_share",
        "work",
        "share",
        "cpu_s / seconds",
        "part of one CPU that scanning took",
        lambda i: ratio(_cpu_s(i), i.seconds),
        "less",
    ),
    Metric("cpu_s", "work", "s", "cpu_ns / 10^9", "CPU time of scanning", _cpu_s, "less"),
    Metric(
        "cpu_s_per_gib_saved",
        "work",
        "s/GiB",
        "cpu_s / (saved_bytes / 2^30)",
        "CPU time spent per GiB that is saved at the end; null where nothing is",
        lambda i: ratio(_cpu_s(i), max(0, i.saved_bytes) / GIB),
        "less",
    ),
    Metric(
        "full_scans",
        "work",
        "scans",
        "full_scans at the end",
        "times that all memory was looked at",
        last("full_scans"),
    ),
    Metric("pages_scanned", "work", "pages", "pages_scanned at the end", "pages processed", last("pages_scanned")),
    Metric(
        "pages_skipped",
        "work",
        "pages",
        "pages_skipped at the end",
        "pages that smart scan passed over",
        last("pages_skipped"),
    ),
    Metric("seconds", "work", "s", "end - start", "trace time that was replayed", lambda i: i.seconds),
    *TRACKING,
)


def summarize(
    samples: pl.DataFrame,
    none: pl.DataFrame,
    oracle: pl.DataFrame,
    *,
    page_size: int,
    mean_frames: float,
    mean_frames_none: float,
    metadata_bytes: int,
    start_ns: int,
    until_ns: int,
    unsampled: Unsampled | None = None,
) -> dict[str, float | int | None]:
    """The METRICS of one replay, by name.

    `samples`, `none` and `oracle` have the columns of a replay's samples and rows at the same times, the last one at
    the end of the replay; `unsampled` is what designs of the review of 2009 tell besides. A ratio over zero is None,
    and so is what the design does not count.
    """
    inputs = Inputs(
        last=samples.row(-1, named=True),
        none=none.row(-1, named=True),
        oracle=oracle.row(-1, named=True),
        times=samples["time_ns"],
        saved_pages=none["frames"] - samples["frames"],
        page_size=page_size,
        mean_frames=mean_frames,
        mean_frames_none=mean_frames_none,
        metadata_bytes=metadata_bytes,
        start_ns=start_ns,
        until_ns=until_ns,
        samples=samples,
        unsampled=unsampled or Unsampled(),
    )
    return {metric.name: metric.compute(inputs) for metric in METRICS}


def shown_metrics(summaries: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """The METRICS to show of these summaries: those about tracking only where one of them has such a number."""
    known = list(summaries)
    return [
        metric
        for metric in METRICS
        if metric.group != "tracking" or any(one.get(metric.name) is not None for one in known)
    ]


__all__ = ["GROUPS", "METRICS", "Metric", "Unsampled", "shown_metrics", "summarize"]
