"""The whole measurement: rounds of loads, the fit, and the profile that comes of it."""

import contextlib
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ksmbench.calibrate import host
from ksmbench.calibrate.fitting import STABLE_MISSES, Fit, Measurement, errors_left_out, fit_measurements, price_spread
from ksmbench.calibrate.loads import calibration_loads
from ksmbench.calibrate.measuring import Counted, DisagreementError, Floats, Load, count_load, play_counted
from ksmbench.engine.cost import CostProfile
from ksmbench.errors import KsmbenchError
from ksmbench.validate.sysfs import KsmSession, why_not

ROUNDS = 5
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Calibration:
    """A profile, and what it stands on."""

    profile: CostProfile
    fit: Fit
    spread: list[float]  # of the prices of `fit`, ns
    loads: list[dict[str, Any]]  # a row per load: what was measured, what the profile says


def _play_patiently(counted: Counted, session: KsmSession) -> Floats:
    # Once more, in case somebody else's memory was merged meanwhile.
    try:
        return play_counted(counted, session)
    except DisagreementError:
        return play_counted(counted, session)


class Rounds:
    """Loads that are played one after the other, again and again; the same batches every time."""

    def __init__(self, loads: Sequence[Load]) -> None:
        self.counted: list[Counted] = [count_load(load) for load in loads]
        self.spent: list[list[Any]] = [[] for _ in loads]

    def play(self, told: Callable[[int], None] | None = None, session: KsmSession | None = None) -> None:
        """One more round. KSM's lock is taken for the round alone, so that others have their turn in between."""
        found = []
        with contextlib.nullcontext(session) if session else KsmSession() as held:
            for counted in self.counted:
                found.append(_play_patiently(counted, held))
                if told is not None:
                    told(len(found))
        for spent, new in zip(self.spent, found, strict=True):
            spent.append(new)

    def measured(self) -> list[Measurement]:
        """What was found so far."""
        return [
            Measurement(counted.load.name, counted.work, np.array(spent, float), counted.load.spoiled > 0)
            for counted, spent in zip(self.counted, self.spent, strict=True)
        ]


def make_profile(measured: Sequence[Measurement], warm_levels: tuple[float, ...], about: dict[str, Any]) -> Calibration:
    """Fit, estimate the errors, and put all of it into a profile."""
    fit = fit_measurements(measured, warm_levels)
    spread = price_spread(measured, warm_levels)
    left_out = errors_left_out(measured, warm_levels)
    prices: dict[str, list[float]] = {}
    for (name, _), price in zip(fit.terms, fit.prices, strict=True):
        prices.setdefault(name, []).append(round(float(price), 1))
    misses = prices["unstable_comparison_ns"][1:]
    prices["stable_comparison_ns"] += [round(STABLE_MISSES * price, 1) for price in misses]
    loads: list[dict[str, Any]] = [
        {
            "load": one.name,
            "batches": len(one.work),
            "measured_ms": round(float(one.spent_ns.sum()) / 1e6, 3),
            "rounds_percent": _spread_percent(one),
            "fitted_percent": round(
                100 * (fit.predict(one.work, warm_levels, one.is_cold) / float(one.spent_ns.sum()) - 1), 1
            ),
            "left_out_percent": round(100 * left_out[one.name], 1),
        }
        for one in measured
    ]
    errors = [abs(row["left_out_percent"]) for row in loads]
    when = datetime.now(UTC)
    about = about | {
        "date": when.isoformat(timespec="seconds"),
        "rounds": len(measured[0].rounds_ns),
        "spread_ns": {f"{name}[{i}]": round(float(s), 1) for (name, i), s in zip(fit.terms, spread, strict=True)},
        "left_out_error_percent": {"median": round(float(np.median(errors)), 1), "worst": max(errors)},
        "loads": loads,
    }
    prices["batch_ns"] = [max(1.0, *prices["batch_ns"])]
    profile = CostProfile(
        name=f"{platform.node()}-{when:%Y-%m-%d}",
        source=f"ksmbench calibrate on {os.cpu_count()} CPUs of {host.processor()}, Linux {platform.release()}, "
        f"{when:%Y-%m-%d}",
        hz=host.timer_hz(),
        stable_comparison_ns=tuple(prices["stable_comparison_ns"]),
        unstable_comparison_ns=tuple(prices["unstable_comparison_ns"]),
        warm_levels=warm_levels,
        measured=about,
        **{name: prices[name][0] for name in _SCALARS},
    )
    return Calibration(profile, fit, [float(s) for s in spread], loads)


_SCALARS = (
    "batch_ns",
    "scanned_ns",
    "skipped_ns",
    "checksum_ns",
    "merge_ns",
    "compared_kib_ns",
    "cold_ns",
    "long_comparison_ns",
    "stable_node_ns",
    "stale_node_ns",
    "item_made_ns",
    "item_freed_ns",
    "empty_entry_ns",
)


def _spread_percent(one: Measurement) -> list[float]:
    # The least and the most of the rounds' sums, against the median.
    sums = one.rounds_ns.sum(axis=1)
    middle = float(np.median(sums))
    return [round(100 * (float(extreme) / middle - 1), 1) for extreme in (sums.min(), sums.max())]


def calibrate(
    *,
    rounds: int = ROUNDS,
    quick: bool = False,
    progress: Progress | None = None,
    between: Callable[[], None] | None = None,
) -> Calibration:
    """Measure the cost of ksmd's steps on the running kernel. Needs root; raises `KsmbenchError` with what is missing.

    `quick` takes small loads, which see nothing of what lies beyond the caches. `between` is called after every round.
    """
    problem = why_not()
    if problem is not None:
        raise KsmbenchError(problem)
    levels = host.warm_levels(host.cache_sizes())
    if not levels:
        raise KsmbenchError("sysfs does not tell the sizes of this processor's caches, without which nothing is fitted")
    plays = Rounds(calibration_loads(quick))
    before = host.ticks()
    for i in range(rounds):
        n = len(plays.counted)

        def told(done: int, i: int = i, n: int = n) -> None:
            if progress is not None:
                progress((i + done / n) / rounds)

        plays.play(told)
        if between is not None:
            between()
    return make_profile(plays.measured(), levels, host.described() | {"quick": quick} | host.disturbance(before))
