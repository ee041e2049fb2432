"""The designs of 2009 do in small scenarios what follows from their rules."""

import pytest

import ksmbench
from ksmbench import designs
from ksmbench.result import Result
from workloads.review_2009.directed import DESIGNS, DEVICE, MERGED, RFC, ROLLUP, SCENARIOS, Directed, Q, exit_at, quota

BATCH_S = 0.02  # sleep_millisecs


def _replay(case: Directed, design: str, **more: int | str) -> Result:
    settings = {**case.settings, **case.more.get(design, {}), **more}
    return ksmbench.replay(case.trace, design, sample=BATCH_S, cost="none", check=True, **settings)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_must_be_seen_is_seen(name: str, design: str) -> None:
    case = SCENARIOS[name]()
    expected = [one for one in case.expected if design in one.designs]
    samples = _replay(case, design).samples
    for one in expected:
        row = samples.filter(samples["time_ns"] <= one.seconds * 1e9).row(-1, named=True)
        high = one.low if one.high is None else one.high
        assert one.low <= row[one.column] <= high, f"{one.column} at {one.seconds} s: {one.told}"


@pytest.mark.parametrize("design", [DEVICE, RFC])
@pytest.mark.parametrize("rounds", [1, 3, 8])
def test_a_quota_is_overrun_once_a_round_and_the_count_never_shows_it(design: str, rounds: int) -> None:
    samples = _replay(quota(rounds), design).samples
    assert samples["kernel_pages_counted"].max() <= Q
    assert samples["frames_ksm"].max() == samples["frames_ksm"][-1] == (rounds + 1) * Q


@pytest.mark.parametrize("design", [ROLLUP, MERGED])
def test_with_a_hook_in_fork_nothing_stays_lost_for_more_than_a_pass(design: str) -> None:
    samples = _replay(quota(4), design).samples
    assert samples["frames_ksm"].max() == Q
    assert samples["lost_ptes"].max() == 0  # here every pass is one batch, and a fork comes right before one


def test_callbacks_mend_the_quota_of_the_rfc() -> None:
    samples = _replay(quota(4), RFC, callbacks="fork").samples
    assert samples["lost_ptes"].max() == 0
    assert samples["frames_ksm"].max() == Q


def _delay_in_passes(batch: int, design: str, **more: int | str) -> int:
    # Passes that ended between an exit and the first sample with its memory free.
    case = exit_at(batch)
    samples = _replay(case, design, **more).samples
    exit_ns = (3.01 + BATCH_S * batch) * 1e9
    before = samples.filter(samples["time_ns"] < exit_ns).row(-1, named=True)
    freed = samples.filter((samples["time_ns"] > exit_ns) & (samples["frames"] < before["frames"])).row(0, named=True)
    return int(freed["full_scans"] - before["full_scans"])


def test_a_dead_process_is_freed_one_pass_later_where_the_scan_had_not_reached_it_and_two_where_it_had() -> None:
    delays = [_delay_in_passes(batch, RFC) for batch in range(12)]
    assert set(delays) == {1, 2}
    changes = sum(a != b for a, b in zip(delays, delays[1:], strict=False))
    assert 3 <= changes <= 5  # twelve batches are two passes: each has a part before and a part after the scan


@pytest.mark.parametrize("design", [DEVICE, ROLLUP, MERGED])
def test_elsewhere_it_is_freed_at_its_exit(design: str) -> None:
    for batch in range(0, 12, 3):
        result = _replay(exit_at(batch), design)
        assert result.samples["dead_pages"].max() == 0
        assert result.summary["longest_exit_delay_s"] == 0


def test_a_callback_in_exit_frees_it_at_once_in_the_rfc_too() -> None:
    samples = _replay(exit_at(0), RFC, callbacks="exit").samples
    assert samples["dead_pages"].max() == 0


def test_the_delay_is_one_to_two_passes_in_seconds_as_well() -> None:
    case = exit_at(0)
    result = _replay(case, RFC)
    pass_s = 5.0 / result.samples["full_scans"][-1]
    delay = result.summary["longest_exit_delay_s"]
    assert delay is not None
    assert 0 < delay <= 2.2 * pass_s


def test_stopping_copies_every_merged_page_in_the_rfc_and_none_elsewhere() -> None:
    case = SCENARIOS["stop"]()
    copies = {design: _replay(case, design).summary["copies_at_stop"] for design in DESIGNS}
    assert copies == {DEVICE: 0, RFC: 2 * Q, ROLLUP: 0, MERGED: 0}


def test_every_scenario_is_about_some_design_that_there_is() -> None:
    for scenario in SCENARIOS.values():
        case = scenario()
        assert case.expected
        for one in case.expected:
            for design in one.designs:
                assert one.column in designs.find(design).counters
