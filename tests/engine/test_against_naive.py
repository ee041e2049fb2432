"""The engine equals the naive twin in every column after every batch, and per space; so do `none` and `oracle`.

The twin (`tests.naive`) was written from the specification alone, without a look at the engine.
"""

from collections.abc import Callable

import pytest

from ksmbench.trace.columns import Trace
from tests.kernel.scenarios import huge_scenario, random_scenario
from tests.naive.agreement import difference, still_difference
from tests.naive.directed import directed
from tests.naive.directed_rare import directed_rare
from tests.naive.scenarios import wild_scenario
from tests.naive.wild_huge import wild_huge_scenario

Settings = dict[str, int]


def _played(seed: int) -> tuple[Trace, Settings]:
    return random_scenario(seed)[:2]


def _huge(seed: int) -> tuple[Trace, Settings]:
    return huge_scenario(seed)[:2]


def _differing(make: Callable[[int], tuple[Trace, Settings]], seeds: range) -> list[str]:
    """A sentence per seed where something differs: the first batch and its columns."""
    found = []
    for seed in seeds:
        trace, settings = make(seed)
        found += _all_designs(f"{make.__name__} seed {seed} {settings}", trace, settings)
    return found


def _all_designs(what: str, trace: Trace, settings: Settings) -> list[str]:
    compared = {
        "ksm": difference(trace, settings),
        "none": still_difference(trace, merged=False),
        "oracle": still_difference(trace, merged=True),
    }
    return [f"{what}, {design}: {wrong}" for design, wrong in compared.items() if wrong]


def test_scenarios_that_processes_can_play() -> None:
    assert _differing(_played, range(1000, 1030)) == []


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_wild_scenarios(first: int) -> None:
    assert _differing(wild_scenario, range(first, first + 20)) == []


def test_huge_frames() -> None:
    assert _differing(_huge, range(1)) == []
    assert _differing(wild_huge_scenario, range(10)) == []


def test_directed_scenarios() -> None:
    found = [
        wrong
        for name, trace, settings in [*directed(), *directed_rare()]
        for wrong in _all_designs(name, trace, settings)
    ]
    assert found == []
