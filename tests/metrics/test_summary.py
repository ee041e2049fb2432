"""Every metric against a number worked out by hand."""

from typing import Any

import polars as pl
import pytest

from ksmbench.engine.counters import ROW_COUNTERS, SAMPLED
from ksmbench.metrics.summary import METRICS, Unsampled, shown_metrics, summarize

# The contract of the command line and the API: scripts outside this repository read these keys.
PROMISED = {
    "merge_ratio",
    "saved_bytes",
    "saved_bytes_mean",
    "saved_bytes_net",
    "oracle_share",
    "scan_cost_cpu_share",
    "cpu_s_per_gib_saved",
    "time_to_90_percent_s",
    "cow_breaks",
}
TRACKED = {metric.name for metric in METRICS if metric.group == "tracking"}
SECOND = 10**9
START = 5 * SECOND


def frame(times_s: list[float], **columns: list[int | None]) -> pl.DataFrame:
    """Samples at `times_s` after START; what is not named is null, as where a design has no such counter."""
    rows = len(times_s)
    names = [name for name in ROW_COUNTERS if name in SAMPLED or name in columns]
    data = {name: columns.get(name, [None] * rows) for name in names}
    times = [START + round(second * SECOND) for second in times_s]
    return pl.DataFrame({"time_ns": times} | data, schema={"time_ns": pl.Int64} | dict.fromkeys(names, pl.Int64))


def summary_of(
    samples: pl.DataFrame, none: list[int], oracle: list[int], **different: Any
) -> dict[str, float | int | None]:
    """The summary beside bounds that use so many frames; ten seconds unless told otherwise."""
    times_s = [(time - START) / SECOND for time in samples["time_ns"]]
    facts: dict[str, Any] = {
        "page_size": 4096,
        "mean_frames": 0.0,
        "mean_frames_none": 0.0,
        "metadata_bytes": 0,
        "start_ns": START,
        "until_ns": START + 10 * SECOND,
    }
    return summarize(samples, frame(times_s, frames=none), frame(times_s, frames=oracle), **(facts | different))


def test_a_replay_that_saves() -> None:
    samples = frame(
        [0, 2, 5, 10],
        frames=[1000, 990, 910, 900],
        pages_shared=[0, 4, 20, 25],
        pages_sharing=[0, 10, 90, 100],
        cow_breaks=[0, 0, 3, 7],
        cpu_ns=[0, 10**8, 4 * 10**8, SECOND],
        full_scans=[0, 1, 2, 4],
        pages_scanned=[0, 1000, 2000, 4000],
        pages_skipped=[0, 0, 10, 30],
        merges=[0, 14, 110, 125],
    )
    summary = summary_of(
        samples,
        none=[1000, 1000, 1000, 1000],
        oracle=[800, 800, 800, 800],
        mean_frames=950.0,
        mean_frames_none=1000.0,
        metadata_bytes=9600,
    )
    assert {name: value for name, value in summary.items() if name not in TRACKED} == {
        "saved_bytes": 100 * 4096,
        "saved_bytes_mean": 50.0 * 4096,
        "saved_bytes_net": 409_600 - 9600,
        "oracle_share": 0.5,  # 100 of 200 frames
        "oracle_saved_bytes": 200 * 4096,
        "merge_ratio": 4.0,  # 100 / 25
        "scan_cost_cpu_share": 0.1,  # 1 s of 10 s
        "cpu_s_per_gib_saved": 2621.44,  # 1 s / (409,600 / 2^30)
        "time_to_90_percent_s": 5.0,  # 90 of 100 frames: exactly nine tenths count
        "cow_breaks": 7,
        "cpu_s": 1.0,
        "seconds": 10.0,
        "frames": 900,
        "metadata_bytes": 9600,
        "full_scans": 4,
        "pages_scanned": 4000,
        "pages_skipped": 30,
        "merges": 125,
    }
    assert {summary[name] for name in TRACKED} == {None}


def test_promised_names_are_there_and_each_is_defined_once() -> None:
    names = [metric.name for metric in METRICS]
    assert set(names) >= PROMISED
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.unit
        assert metric.formula
        assert metric.meaning
        assert metric.better in ("more", "less", "")


def test_a_ratio_over_zero_is_null() -> None:
    samples = frame([0, 10], frames=[50, 50], pages_shared=[0, 0], pages_sharing=[0, 0], cpu_ns=[0, 3 * SECOND])
    summary = summary_of(samples, none=[50, 50], oracle=[50, 50], until_ns=START)
    for name in (
        "merge_ratio",
        "oracle_share",
        "scan_cost_cpu_share",
        "cpu_s_per_gib_saved",
        "time_to_90_percent_s",
    ):
        assert summary[name] is None
    assert summary["cpu_s"] == 3.0
    assert summary["saved_bytes"] == 0


def test_merging_can_cost_memory() -> None:
    summary = summary_of(
        frame([0, 10], frames=[50, 60], cpu_ns=[0, SECOND]), none=[50, 50], oracle=[50, 40], metadata_bytes=1
    )
    assert summary["saved_bytes"] == -10 * 4096
    assert summary["saved_bytes_net"] == -10 * 4096 - 1
    assert summary["oracle_share"] == -1.0
    assert summary["cpu_s_per_gib_saved"] is None
    assert summary["time_to_90_percent_s"] is None


def test_what_a_design_does_not_count_is_null() -> None:
    summary = summary_of(frame([0, 10], frames=[50, 40]), none=[50, 50], oracle=[40, 40])
    assert summary["saved_bytes"] == 10 * 4096
    assert summary["oracle_share"] == 1.0
    for name in ("merge_ratio", "scan_cost_cpu_share", "cpu_s_per_gib_saved", "cow_breaks", "cpu_s", "pages_scanned"):
        assert summary[name] is None


@pytest.mark.parametrize(
    ("frames", "none", "seconds"),
    [
        ([10, 10, 10, 5], [10, 10, 10, 10], 3.0),  # only at the end
        ([5, 9, 9, 5], [10, 10, 10, 10], 0.0),  # at once, though it fell back later
        ([10, 9, 5, 14], [10, 10, 10, 20], 3.0),  # of the saving at the end: 6 frames, of which 5.4 are nine tenths
        ([10, 10, 11, 10], [10, 10, 12, 11], 2.0),  # what none uses at that very time counts, not at the end
    ],
)
def test_when_nine_tenths_are_reached(frames: list[int], none: list[int], seconds: float) -> None:
    summary = summary_of(frame([0, 1, 2, 3], frames=frames), none=none, oracle=none, until_ns=START + 3 * SECOND)
    assert summary["time_to_90_percent_s"] == seconds


def test_what_a_design_loses_and_holds() -> None:
    samples = frame(
        [0, 5, 10],
        frames=[100, 120, 90],
        frames_ksm=[0, 30, 20],
        pages_scanned=[0, 30, 60],
        lost_ptes=[0, 25, 5],
        kernel_pages_counted=[0, 12, 22],
        dead_pages=[0, 40, 8],
        steps_absent=[0, 10, 20],
        steps_dead=[0, 10, 10],
        steps_idle=[0, 0, 10],
        wrprotect_ptes=[0, 70, 77],
    )
    told = Unsampled(3e9, 1_500_000_000, 7, 8, 130)
    bound = [100, 100, 100]
    summary = summary_of(samples, none=bound, oracle=bound, unsampled=told)
    assert {name: summary[name] for name in TRACKED} == {
        "lost_ptes": 5,
        "lost_ptes_most": 25,
        "kernel_pages_counted": 22,
        "quota_overrun": -2,  # 20 - 22: two are counted that are gone
        "quota_overrun_most": 18,  # 30 - 12
        "dead_byte_seconds": 3.0 * 4096,
        "dead_pages_most": 40,
        "longest_exit_delay_s": 1.5,
        "copies_at_exit": 7,
        "copies_at_stop": 8,
        "frames_peak": 130,
        "steps_absent": 20,
        "steps_absent_share": 0.2,  # of 60 + 20 + 10 + 10
        "steps_dead": 10,
        "steps_dead_share": 0.1,
        "steps_idle": 10,
        "steps_idle_share": 0.1,
        "wrprotect_ptes": 77,
    }
    assert shown_metrics([summary]) == list(METRICS)


def test_what_a_design_does_not_count_is_null_and_not_shown() -> None:
    bare = frame([0, 10], frames=[50, 50], frames_ksm=[0, 5])
    summary = summary_of(bare, none=[50, 50], oracle=[50, 50], unsampled=Unsampled(peak_frames=60))
    assert {summary[name] for name in TRACKED} == {None}
    assert not TRACKED & {metric.name for metric in shown_metrics([summary, {}])}
    some = frame([0, 10], frames=[50, 50], lost_ptes=[0, 0])
    summary = summary_of(some, none=[50, 50], oracle=[50, 50], unsampled=Unsampled(peak_frames=60))
    assert {name for name in TRACKED if summary[name] is not None} == {
        "lost_ptes",
        "lost_ptes_most",
        "dead_byte_seconds",
        "longest_exit_delay_s",
        "copies_at_exit",
        "copies_at_stop",
        "frames_peak",
    }
