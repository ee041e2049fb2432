"""Whether a calibrated profile predicts ksmd's CPU time on loads that it was not fitted to.

    python -m benchmarks.cost_check [--rounds 5] [-o PROFILE] [--without NAME ...]

Calibrates (`ksmbench calibrate`) and measures the loads below in the same run, in turn, round by round; then compares
the median of the rounds with what the profile says. Three loads are live, while ksmd runs at its own pace: two Debian
guests under QEMU, idle and at work, and a pre-forking service. Exit status 1 where a load is off by more than 15 %.
Needs root, Linux 6.18, 9 GiB free for a million distinct pages, QEMU and the image of `workloads.debian_guests`, and
half an hour.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks import live_cost
from benchmarks.scan_distinct import one_process, random_pages
from ksmbench.calibrate import host
from ksmbench.calibrate.calibrating import ROUNDS, Rounds, make_profile
from ksmbench.calibrate.fitting import Fit
from ksmbench.calibrate.loads import FIRST_PAGE, PLAIN, Recipe, calibration_loads, prefixes
from ksmbench.calibrate.measuring import Counted, DisagreementError, Load, count_load, play_counted
from ksmbench.commands.calibrate import told
from ksmbench.errors import KsmbenchError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.validate.sysfs import KsmSession

LIMIT = 0.15
MILLION_BYTES = 9 << 30
PATIENCE_S = 900.0  # for others who use KSM here

Result = TypeVar("Result")


@dataclass
class Check:
    """A load: what it took in every round, and what is predicted for that round."""

    name: str
    spent_ns: list[float] = field(default_factory=list)
    predicted_ns: list[float] = field(default_factory=list)


def patiently(act: Callable[[], Result]) -> Result:
    """Try again while other processes here ask for merging."""
    begin = time.monotonic()
    while True:
        try:
            return act()
        except KsmbenchError as error:
            disturbed = isinstance(error, DisagreementError) or "can be merged here" in str(error)
            if not disturbed or time.monotonic() > begin + PATIENCE_S:
                raise
            print(f"once more: {error}", file=sys.stderr, flush=True)
            time.sleep(3)


def last_bytes(n: int) -> Trace:
    """Pages that are equal but for the last 8 bytes."""
    numbers = np.arange(1, n + 1)
    lcp = np.full(n, 4095) - sum((numbers % 16**digit == 0).astype(int) for digit in range(1, 8))
    lcp[0] = 0
    recipe = Recipe(np.concatenate([[0], lcp]).astype(np.uint16))
    recipe.hold(np.random.default_rng(3).permutation(n) + 1)
    return recipe.trace()


def rewritten(n_contents: int, copies: int, seconds: int) -> Trace:
    """Contents with many copies; every second a tenth of the pages is written to, with others of these contents."""
    rng = np.random.default_rng(4)
    n = n_contents * copies
    recipe = Recipe(prefixes(n_contents, 24))
    recipe.hold(rng.permutation(np.tile(np.arange(n_contents) + 1, copies)))
    for second in range(1, seconds):
        pages = FIRST_PAGE + rng.permutation(n)[: n // 10]
        recipe.add(second * 10**9, Kind.WRITE, 0, pages, 1, rng.integers(1, n_contents + 1, n // 10))
    return recipe.trace()


def stepped_loads(without: set[str]) -> list[tuple[Load, int]]:
    """Those that the player plays, and of how many random pages, if they are such."""
    wanted: dict[str, Callable[[], tuple[Load, int]]] = {
        "equal but for 8 bytes": lambda: (Load("", last_bytes(15_000), 16, PLAIN | {"pages_to_scan": 4000}), 0),
        "1,000 contents rewritten": lambda: (Load("", rewritten(1000, 60, 8), 350, {"pages_to_scan": 2000}), 0),
        "100,000 distinct": lambda: (_random(100_000), 100_000),
        "1,000,000 distinct": lambda: (_random(1_000_000), 1_000_000),
    }
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < MILLION_BYTES and "1,000,000 distinct" not in without:
        print(f"a million distinct pages are left out: {free >> 30} GiB are free, not {MILLION_BYTES >> 30}")
        without = without | {"1,000,000 distinct"}
    found = []
    for name, make in wanted.items():
        if name not in without:
            load, pages = make()
            found.append((Load(name, load.trace, load.n_batches, load.settings), pages))
    return found


def _random(n: int) -> Load:
    file, contents = random_pages(n)
    os.close(file)
    batch = 20_000
    return Load("", one_process(contents), 2 * (n // batch + 1), PLAIN | {"pages_to_scan": batch})


def one_round(calibration: Rounds, loads: list[tuple[Load, int]], counted: list[Counted]) -> list[float]:
    """Play everything once; ksmd's time for each of the loads, ns. KSM's lock is held for the whole."""
    spent = []
    with KsmSession() as session:
        for one, (_, n_random) in zip(counted, loads, strict=True):
            pages = random_pages(n_random)[0] if n_random else None
            spent.append(float(play_counted(one, session, pages).sum()))
            if pages is not None:
                os.close(pages)
        calibration.play(session=session)
    return spent


def table(checks: list[Check]) -> int:
    """Print it; how many loads are off by more than LIMIT."""
    print(f"\n{'load':<26}{'measured ms':>12}{'spread':>18}{'predicted ms':>14}{'error':>9}")
    wrong = 0
    for check in checks:
        spent, predicted = np.array(check.spent_ns), np.array(check.predicted_ns)
        middle = float(np.median(spent))
        error = float(np.median(predicted)) / middle - 1
        spread = f"{100 * (spent.min() / middle - 1):+.0f} to {100 * (spent.max() / middle - 1):+.0f} %"
        wrong += abs(error) > LIMIT
        print(f"{check.name:<26}{middle / 1e6:>12.1f}{spread:>18}{np.median(predicted) / 1e6:>14.1f}{error:>+9.1%}")
    print(f"medians of {len(checks[0].spent_ns)}; {wrong} of {len(checks)} loads off by more than {LIMIT:.0%}")
    return wrong


def main() -> int:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("-o", "--output", type=Path, help="write the profile there")
    parser.add_argument(
        "--without", action="append", default=[], metavar="NAME", help="leave out a load, guests or service"
    )
    given = parser.parse_args()
    without = set(given.without)
    loads = stepped_loads(without)
    calibration = Rounds(calibration_loads())
    counted = [count_load(load) for load, _ in loads]
    checks = [Check(load.name) for load, _ in loads]
    live = [act for act in (live_cost.guests, live_cost.service) if act.__name__ not in without]
    before = host.ticks()
    with tempfile.TemporaryDirectory(prefix="ksmbench-cost-") as scratch:
        windows: dict[str, list[live_cost.Window]] = {}
        for number in range(given.rounds):
            begin = time.monotonic()
            for spent, check in zip(patiently(lambda: one_round(calibration, loads, counted)), checks, strict=True):
                check.spent_ns.append(spent)
            took = f"{time.monotonic() - begin:.0f} s, load average {os.getloadavg()[0]:.1f}"
            print(f"round {number + 1}: {took}", file=sys.stderr, flush=True)
            for i, act in enumerate(live):
                if number == min(given.rounds - 1, 1 + i):  # among the rounds, not after all of them
                    windows |= patiently(lambda act=act: act(given.rounds, Path(scratch)))
        levels = host.warm_levels(host.cache_sizes())
        about = host.described() | {"quick": False} | host.disturbance(before)
        made = make_profile(calibration.measured(), levels, about)
        fit: Fit = made.fit
        for check, one in zip(checks, counted, strict=True):
            check.predicted_ns.append(fit.predict(one.work, levels))
        for name, seen in windows.items():
            replayed = [window.replayed(made.profile) for window in seen]
            bounds = live_cost.off_at(seen, made.profile, (0.0, 1.0))
            print(f"{name}: off by {' to '.join(f'{off:+.1%}' for off in bounds)} at cold_share 0 to 1")
            checks.append(Check(name, [window.spent_ns for window in seen], [ns for ns, _ in replayed]))
            scanned = zip((window.scanned for window in seen), (pages for _, pages in replayed), strict=True)
            told_pages = ", ".join(f"{here:,} {there:,}" for here, there in scanned)
            print(f"{name}: pages scanned, and by a replay in the same time: {told_pages}")
    print(told(made))
    if given.output is not None:
        given.output.write_text(json.dumps(made.profile.as_dict(), indent=2) + "\n")
    return int(table(checks) > 0)


if __name__ == "__main__":
    sys.exit(main())
