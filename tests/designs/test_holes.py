"""What the scan passes where nothing is: the steps of a range walk, and of a walk from address to address."""

from dataclasses import replace

import numpy as np
import pytest

import ksmbench
from ksmbench.calibrate.loads import FIRST_PAGE, Recipe, prefixes
from ksmbench.designs.ksm.holes import table_steps
from ksmbench.engine.cost import DEFAULT, CostProfile
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind

TABLE = 512
WHERE = (0, 7, TABLE, 3 * TABLE * TABLE + 5)  # pages, in the first and the fourth GiB
PAGES = len(WHERE)
LENGTH = 5 * TABLE * TABLE


def _looked_at(low: int, high: int) -> int:
    """Entries without a page between two pages that have page tables, table by table."""
    seen = 0
    for level in range(4):
        if level == 3 or low // TABLE == high // TABLE:
            return seen + high - low - 1
        seen += TABLE - 1 - low % TABLE + high % TABLE
        low, high = low // TABLE, high // TABLE
    raise AssertionError


@pytest.mark.parametrize("seed", range(5))
def test_a_range_walk_steps_over_tables_that_are_not_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 1 << rng.integers(3, 36), 50)
    high = low + 1 + rng.integers(0, 1 << rng.integers(1, 36), 50)
    steps = table_steps(low + 1, high)
    assert steps.tolist() == [_looked_at(int(a), int(b)) for a, b in zip(low, high, strict=True)]


def _sparse() -> Trace:
    recipe = Recipe(prefixes(PAGES, 24))
    recipe.add(0, Kind.MAP, 0, FIRST_PAGE, LENGTH)
    recipe.add(0, Kind.MADVISE, 0, FIRST_PAGE, LENGTH, int(Advice.MERGEABLE))
    recipe.add(0, Kind.WRITE, 0, FIRST_PAGE + np.array(WHERE), 1, np.arange(PAGES) + 1)
    recipe.add(10**9, Kind.MARK, 0, 0, 0)
    return recipe.trace()


def _last(design: str, cost: str | CostProfile) -> dict[str, int]:
    return ksmbench.replay(_sparse(), design, cost=cost, until=0.05).samples.row(-1, named=True)


def _first_batch(design: str, cost: CostProfile) -> dict[str, int]:
    return ksmbench.replay(_sparse(), design, cost=cost, sample="batch", until=0.05).samples.row(0, named=True)


def test_each_release_counts_the_steps_of_its_own_walk() -> None:
    walked, asked = _last("ksm-6.18", "none"), _last("ksm-6.12.0", "none")
    assert walked["full_scans"] == asked["full_scans"] == 3
    bounds = [*WHERE, LENGTH]  # the page behind the mapping is an edge: its table is taken to be there
    looked_at = sum(_looked_at(low, high) for low, high in zip(bounds, bounds[1:], strict=False))
    assert walked["empty_entries"] == 3 * looked_at
    assert asked["empty_addresses"] == 3 * (LENGTH - PAGES)
    assert "empty_addresses" not in walked
    assert "empty_entries" not in asked


def test_each_walk_has_its_price() -> None:
    free = replace(DEFAULT, empty_entry_ns=0.0, skipped_ns=0.0)
    for design, price, name in (
        ("ksm-6.18", DEFAULT.empty_entry_ns, "empty_entries"),
        ("ksm-6.12.0", DEFAULT.skipped_ns, "empty_addresses"),
    ):
        paid, unpaid = _first_batch(design, DEFAULT), _first_batch(design, free)
        assert paid[name] == unpaid[name] > 0
        assert paid["cpu_ns"] - unpaid["cpu_ns"] == pytest.approx(price * paid[name], rel=0.05)


@pytest.mark.parametrize("design", ["ksm-6.12.0", "ksm-2.6.32"])
def test_time_does_not_run_backwards_however_much_is_empty_and_dear(design: str) -> None:
    recipe = Recipe(prefixes(1, 24), spaces=6)
    for space in range(6):
        recipe.add(0, Kind.MAP, space, FIRST_PAGE, 1 << 34)
        recipe.add(0, Kind.MADVISE, space, FIRST_PAGE, 1 << 34, int(Advice.MERGEABLE))
    recipe.add(10**9, Kind.MARK, 0, 0, 0)
    dear = replace(DEFAULT, skipped_ns=1e7)
    last = ksmbench.replay(recipe.trace(), design, cost=dear).samples.row(-1, named=True)
    assert last.get("empty_addresses", last.get("steps_absent")) == 6 << 34
    assert last["cpu_ns"] > 10**16
