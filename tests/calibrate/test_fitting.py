"""The fit on made-up measurements; what it predicts is what a replay with its profile charges."""

from dataclasses import replace

import numpy as np
import pytest

from ksmbench.calibrate import host
from ksmbench.calibrate.calibrating import make_profile
from ksmbench.calibrate.fitting import Measurement, fit_measurements, nnls, regressors
from ksmbench.calibrate.loads import calibration_loads
from ksmbench.calibrate.measuring import count_load
from ksmbench.engine.counters import Counter
from ksmbench.replaying import replay

LEVELS = (6.6, 12.6)
TRUE = {
    ("batch_ns", 0): 9000.0,
    ("scanned_ns", 0): 500.0,
    ("skipped_ns", 0): 300.0,
    ("checksum_ns", 0): 900.0,
    ("long_comparison_ns", 0): 120.0,
    ("merge_ns", 0): 1500.0,
    ("stable_node_ns", 0): 600.0,
    ("item_made_ns", 0): 100.0,
    ("item_freed_ns", 0): 150.0,
    ("compared_kib_ns", 0): 100.0,
    ("stable_comparison_ns", 0): 80.0,
    ("cold_ns", 0): 70.0,
    ("unstable_comparison_ns", 0): 150.0,
    ("unstable_comparison_ns", 1): 500.0,
    ("unstable_comparison_ns", 2): 300.0,
}


@pytest.fixture(scope="module")
def measured() -> list[Measurement]:
    """The quick loads, with the time that TRUE says and five rounds of noise, one of them a disturbed one."""
    rng = np.random.default_rng(5)
    found = []
    for load in calibration_loads(quick=True):
        work = count_load(load).work
        columns = regressors(work, LEVELS, load.spoiled > 0)
        spent = sum(columns[term] * price for term, price in TRUE.items())
        rounds = spent * rng.normal(1.0, 0.05, (5, len(work)))
        rounds[2] *= 1.6
        found.append(Measurement(load.name, work, rounds, load.spoiled > 0))
    return found


def test_prices_are_found_again(measured: list[Measurement]) -> None:
    fit = fit_measurements(measured, LEVELS)
    found = dict(zip(fit.terms, fit.prices, strict=True))
    for name in ("scanned_ns", "checksum_ns", "batch_ns", "compared_kib_ns", "cold_ns"):
        assert found[name, 0] == pytest.approx(TRUE[name, 0], rel=0.25)
    assert all(price >= 0 for price in found.values())
    for one in measured:
        assert fit.predict(one.work, LEVELS, one.is_cold) == pytest.approx(one.spent_ns.sum(), rel=0.08)


def test_the_profile_says_how_far_it_is_off(measured: list[Measurement]) -> None:
    about = make_profile(measured, LEVELS, {"quick": True}).profile.measured
    assert about["left_out_error_percent"]["median"] < 10
    assert len(about["loads"]) == len(measured)
    assert set(about["spread_ns"]) >= {"batch_ns[0]", "unstable_comparison_ns[2]"}


def test_a_replay_charges_what_the_fit_predicts(measured: list[Measurement]) -> None:
    made = make_profile(measured, LEVELS, {})
    cold = replace(made.profile, cold_share=1.0)
    load = next(load for load in calibration_loads(quick=True) if load.name == "pairs and distinct")
    counted = count_load(load)
    replayed = replay(load.trace, cost=cold, sample="batch", until=60.0, **load.settings).samples
    same = replayed.head(len(counted.rows))
    assert same["comparisons"].to_list() == counted.rows[:, 1 + Counter.COMPARISONS].tolist()
    assert same["cpu_ns"][-1] == pytest.approx(made.fit.predict(counted.work, LEVELS, is_cold=True), rel=1e-3)


def test_least_squares_without_negative_numbers() -> None:
    rng = np.random.default_rng(6)
    a = rng.random((60, 6))
    x = np.array([3.0, 0.0, 1.0, 0.0, 2.0, 0.5])
    assert nnls(a, a @ x) == pytest.approx(x, abs=1e-9)
    pulled = nnls(a, a @ (x - 4 * np.eye(6)[1]))
    assert (pulled >= 0).all()
    assert pulled[1] == 0
    gradient = a.T @ (a @ (x - 4 * np.eye(6)[1]) - a @ pulled)
    assert (gradient < 1e-6).all()  # nothing is won by more of anything


def test_levels_that_stay_in_the_caches() -> None:
    assert host.warm_levels({1: 32 << 10, 2: 512 << 10, 3: 32 << 20}) == (6.7, 12.7)
    assert host.warm_levels({1: 32 << 10}) == ()
    assert host.warm_levels({2: 1 << 20, 3: 1 << 20}) == (7.7,)
