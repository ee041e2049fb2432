"""The constant-time minimum equals the minimum of the slice."""

import numpy as np
import pytest

from ksmbench.engine.lcp import add_prefixes, compared_bytes
from ksmbench.engine.machine import LCP_MASK, Machine
from tests.engine.alone import alone

bytes_of = alone(compared_bytes)


@pytest.mark.parametrize("n", [2, 3, 31, 32, 33, 64, 65, 300, 1000])
def test_compared_bytes_is_one_more_than_the_least_prefix_between(n: int) -> None:
    rng = np.random.default_rng(n)
    lcp = rng.integers(0, rng.choice([2, 10, 4096]), n).astype(np.uint16)
    lcp[0] = 0
    machine = Machine()
    add_prefixes(machine, lcp)
    for _ in range(2000):
        a, b = rng.choice(n, 2, replace=False)
        low, high = min(a, b), max(a, b)
        assert bytes_of(machine.m, a, b) == 1 + int(lcp[low + 1 : high + 1].min())


def test_one_content_needs_no_table() -> None:
    machine = Machine()
    add_prefixes(machine, np.zeros(1, np.uint16))
    assert machine[LCP_MASK].tolist() == [1]
