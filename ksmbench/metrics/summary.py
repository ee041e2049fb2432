"""The numbers that a replay is summed up in, each defined here and nowhere else.

`n` stands for the design `none` and `o` for `oracle` on the same trace at the same times; `page` is the page size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

GIB = 1 << 30
NEARLY_ALL = 0.9
GROUPS = ("memory", "merging", "work")


@dataclass(frozen=True)
class Inputs:
    """What the formulas read: the last rows of samples, and the series of frames."""

    last: dict[str, Any]
    none: dict[str, Any]
    oracle: dict[str, Any]
    times: pl.Series
    saved_pages: pl.Series  # frames of `none` minus frames, at each sample
    page_size: int
    mean_frames: float
    mean_frames_none: float
    metadata_bytes: int
    start_ns: int
    until_ns: int

    @property
    def saved_bytes(self) -> int:
        """Frames that `none` uses at the end, minus frames used, in bytes."""
        return int(self.none["frames"] - self.last["frames"]) * self.page_size

    @property
    def oracle_saved_bytes(self) -> int:
        """The same of `oracle`."""
        return int(self.none["frames"] - self.oracle["frames"]) * self.page_size

    @property
    def seconds(self) -> float:
        """Length of the replay."""
        return (self.until_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class Metric:
    """One number of a summary: `better` says which way is good, "more", "less" or ""; a unit "share" is a part of 1."""

    name: str
    group: str  # one of GROUPS
    unit: str
    formula: str
    meaning: str
    compute: Callable[[Inputs], float | int | None]
    better: str = ""


def _ratio(above: float | int | None, below: float | int | None) -> float | None:
    return above / below if above is not None and below else None


def _last(name: str) -> Callable[[Inputs], int | None]:
    def compute(inputs: Inputs) -> int | None:
        value: int | None = inputs.last[name]
        return value

    return compute


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
        lambda i: _ratio(i.saved_bytes, i.oracle_saved_bytes),
        "more",
    ),
    Metric("frames", "memory", "pages", "frames at the end", "frames in use", _last("frames"), "less"),
    Metric(
        "merge_ratio",
        "merging",
        "ratio",
        "pages_sharing / pages_shared",
        "pages saved per merged frame, as the kernel counts them",
        lambda i: _ratio(i.last["pages_sharing"], i.last["pages_shared"]),
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
        _last("merges"),
    ),
    Metric(
        "cow_breaks",
        "merging",
        "pages",
        "cow_breaks at the end",
        "merged pages that were written and copied again",
        _last("cow_breaks"),
        "less",
    ),
    Metric(
        "scan_cost_cpu_share",
        "work",
        "share",
        "cpu_s / seconds",
        "part of one CPU that scanning took",
        lambda i: _ratio(_cpu_s(i), i.seconds),
        "less",
    ),
    Metric("cpu_s", "work", "s", "cpu_ns / 10^9", "CPU time of scanning", _cpu_s, "less"),
    Metric(
        "cpu_s_per_gib_saved",
        "work",
        "s/GiB",
        "cpu_s / (saved_bytes / 2^30)",
        "CPU time spent per GiB that is saved at the end; null where nothing is",
        lambda i: _ratio(_cpu_s(i), max(0, i.saved_bytes) / GIB),
        "less",
    ),
    Metric(
        "full_scans",
        "work",
        "scans",
        "full_scans at the end",
        "times that all memory was looked at",
        _last("full_scans"),
    ),
    Metric("pages_scanned", "work", "pages", "pages_scanned at the end", "pages processed", _last("pages_scanned")),
    Metric(
        "pages_skipped",
        "work",
        "pages",
        "pages_skipped at the end",
        "pages that smart scan passed over",
        _last("pages_skipped"),
    ),
    Metric("seconds", "work", "s", "end - start", "trace time that was replayed", lambda i: i.seconds),
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
) -> dict[str, float | int | None]:
    """The METRICS of one replay, by name.

    `samples`, `none` and `oracle` have the columns of a replay's samples and rows at the same times, the last one at
    the end of the replay. A ratio over zero is None, and so is what the design does not count.
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
    )
    return {metric.name: metric.compute(inputs) for metric in METRICS}
