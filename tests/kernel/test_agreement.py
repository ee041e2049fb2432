"""The engine equals the running kernel: every counter after every batch, the page tables' frames included.

A few scenarios; `python -m tests.kernel.campaign` plays hundreds.
"""

import pytest

from ksmbench.trace.columns import Trace
from ksmbench.validate.kernel import play_on_kernel
from tests.kernel.campaign import differences, engine
from tests.kernel.needs import needs_kernel
from tests.kernel.scenarios import huge_scenario, random_scenario

pytestmark = needs_kernel


def agree(trace: Trace, settings: dict[str, int], n_batches: int) -> None:
    rows, spaces = engine(trace, n_batches, settings)
    played = play_on_kernel(trace, n_batches=n_batches, frames=True, **settings)
    values, found = differences(played, rows, spaces)
    assert found == []
    assert values >= 15 * n_batches


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_random_scenarios_give_the_kernels_counters(seed: int) -> None:
    agree(*random_scenario(seed))


@pytest.mark.parametrize("seed", range(3))
def test_huge_frames_give_the_kernels_counters(seed: int) -> None:
    agree(*huge_scenario(seed))


def test_a_difference_is_seen() -> None:
    """The comparison can fail: an engine with another setting differs."""
    trace, settings, n_batches = random_scenario(1000)
    rows, spaces = engine(trace, n_batches, settings | {"smart_scan": 1 - settings["smart_scan"]})
    played = play_on_kernel(trace, n_batches=n_batches, **settings)
    assert differences(played, rows, spaces)[1]
