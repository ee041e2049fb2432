"""When ksmd runs: the rules of virtual time, on traces small enough to work out by hand."""

from typing import Any

import pytest

from ksmbench import designs
from ksmbench.engine.clock import sleep_end
from ksmbench.errors import UsageError
from ksmbench.replaying import replay
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind
from tests.engine.alone import alone
from tests.kernel.scenarios import Row, make_contents, make_trace

MS = 1_000_000
PAGE = 0x400000


def registered(at_ms: int, space: int = 0) -> list[Row]:
    """A mergeable mapping of four pages, two of them equal."""
    time = at_ms * MS
    return [
        (time, Kind.MAP, space, PAGE, 4, 0),
        (time, Kind.MADVISE, space, PAGE, 4, Advice.MERGEABLE),
        (time, Kind.WRITE, space, PAGE, 2, 1),
    ]


def trace_of(rows: list[Row], names: tuple[str, ...] = (), named: dict[int, int] | None = None) -> Trace:
    import numpy as np

    return make_trace(rows, make_contents(np.random.default_rng(0), 3), names, named)


def batches(trace: Trace, **options: object) -> list[float]:
    """Times of the batches in ms."""
    result = replay(trace, sample="batch", cost="none", check=True, **options)  # type: ignore[arg-type]
    return [time / MS for time in result.samples["time_ns"].to_list()]


def test_batch_k_runs_at_k_sleeps_and_the_last_moment_belongs_to_the_replay() -> None:
    trace = trace_of([*registered(0), (60 * MS, Kind.MARK, 0, 0, 0, 0)])
    assert batches(trace) == [0, 20, 40, 60]
    assert batches(trace, until=0.0599) == [0, 20, 40]
    assert batches(trace, until=0.1, sleep_millisecs=50) == [0, 50, 100]


def test_the_event_that_ends_idling_runs_a_batch_at_once() -> None:
    trace = trace_of([(0, Kind.MARK, 0, 0, 0, 0), *registered(33), (80 * MS, Kind.MARK, 0, 0, 0, 0)])
    assert batches(trace) == [33, 53, 73]


def test_ksmd_looks_again_at_the_next_beat_before_it_idles() -> None:
    """The only space exits at 25 ms; its slot has items and goes at 40 ms; then ksmd idles until 90 ms."""
    rows = [*registered(0), (25 * MS, Kind.EXIT, 0, 0, 0, 0), *registered(90, 1), (115 * MS, Kind.MARK, 1, 0, 0, 0)]
    assert batches(trace_of(rows)) == [0, 20, 40, 90, 110]


def test_a_changed_sleep_ends_the_one_that_is_going_on() -> None:
    rows = [
        *registered(0),
        (30 * MS, Kind.TUNE, 0, 0, 0, 100),
        (35 * MS, Kind.TUNE, 0, 0, 0, 100),
        (140 * MS, Kind.MARK, 0, 0, 0, 0),
    ]
    trace = trace_of(rows, ("sleep_millisecs",), {3: 0, 4: 0})
    assert batches(trace) == [0, 20, 30, 130]
    assert batches(trace, ignore_tune=True) == [0, 20, 40, 60, 80, 100, 120, 140]


def test_run_0_is_noticed_at_the_next_beat_and_a_run_1_before_it_changes_nothing() -> None:
    rows = [
        *registered(0),
        (22 * MS, Kind.TUNE, 0, 0, 0, 0),
        (25 * MS, Kind.TUNE, 0, 0, 0, 1),
        (45 * MS, Kind.TUNE, 0, 0, 0, 0),
        (77 * MS, Kind.TUNE, 0, 0, 0, 1),
        (100 * MS, Kind.MARK, 0, 0, 0, 0),
    ]
    trace = trace_of(rows, ("run",), dict.fromkeys(range(3, 7), 0))
    assert batches(trace) == [0, 20, 40, 77, 97]


def test_refused_and_unknown_tunes_are_counted_and_change_nothing() -> None:
    rows = [
        *registered(0),
        *((5 * MS, Kind.TUNE, 0, 0, 0, value) for value in (3, -1, 1)),
        (9 * MS, Kind.MARK, 0, 0, 0, 0),
    ]
    trace = trace_of(rows, ("run", "max_page_sharing", "no_such_file"), {3: 0, 4: 1, 5: 2})
    assert replay(trace).options["refused_tunes"] == 3


@pytest.mark.parametrize(
    ("start_ms", "millisecs", "end_ms"), [(0, 20, 24), (3.9, 20, 24), (4, 20, 28), (1, 0, 1), (0, 1, 8)]
)
def test_a_sleep_ends_on_a_jiffy_one_later_than_asked(start_ms: float, millisecs: int, end_ms: float) -> None:
    assert alone(sleep_end)(round(start_ms * MS), millisecs * MS, 4 * MS) == round(end_ms * MS)


def test_a_snapshot_ends_when_its_counters_have_settled() -> None:
    result = replay(trace_of(registered(0)), cost="none", pages_to_scan=100, smart_scan=0)
    assert result.summary["saved_bytes"] == 4096
    # Merged in the second scan; that one and nine more are equal.
    assert result.summary["full_scans"] == 11
    for name in ("none", "oracle"):
        assert replay(trace_of(registered(0)), name).summary["seconds"] == 0


@pytest.mark.parametrize(
    ("name", "value", "options", "why"),
    [
        ("sleep_millisecs", 0, {"cost": "none", "until": 1.0}, "time would stand still"),
        ("pages_to_scan", 0, {}, "pages_to_scan=0 never ends a scan"),
        ("advisor_max_pages_to_scan", 0, {"advisor_mode": 1}, "pages_to_scan=0 never ends a scan"),
        ("no_such_file", 0, {"advisor_mode": 1, "advisor_min_pages_to_scan": 1 << 32}, "pages_to_scan=0 never ends"),
    ],
)
def test_what_the_trace_or_the_advisor_stores_cannot_make_a_replay_endless(
    name: str, value: int, options: dict[str, Any], why: str
) -> None:
    trace = trace_of([*registered(0), (0, Kind.TUNE, 0, 0, 0, value)], (name,), {3: 0})
    with pytest.raises(UsageError, match=why):
        replay(trace, sample="end", **options)


def test_a_batch_costs_time_and_the_next_sleep_begins_after_it() -> None:
    trace = trace_of([*registered(0), (1000 * MS, Kind.MARK, 0, 0, 0, 0)])
    result = replay(trace, sample="batch")
    times = result.samples["time_ns"].to_list()
    assert times[0] == 0
    assert all(time % (4 * MS) == 0 for time in times[1:])
    assert {b - a for a, b in zip(times, times[1:], strict=False)} == {24 * MS}
    assert result.samples["cpu_ns"][-1] > 0


def test_every_design_says_what_it_has() -> None:
    trace = trace_of([*registered(0), (1000 * MS, Kind.MARK, 0, 0, 0, 0)])
    for name, design in designs.DESIGNS.items():
        samples = replay(trace, name, check=True).samples
        has = {column for column in samples.columns if samples[column].null_count() == 0} - {"time_ns"}
        assert has == set(design.counters)
        assert design.summary
        assert design.source
