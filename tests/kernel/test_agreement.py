"""The engine equals the running kernel: every counter after every batch, the page tables' frames included.

A few scenarios; `python -m tests.kernel.campaign` plays hundreds.
"""

import pytest

from ksmbench.trace.columns import Trace
from ksmbench.validate.agreement import agree, compare, replay_batches
from ksmbench.validate.kernel import play_on_kernel
from tests.kernel.needs import needs_kernel
from tests.kernel.scenarios import huge_scenario, random_scenario

pytestmark = needs_kernel


def assert_agrees(trace: Trace, settings: dict[str, int], n_batches: int) -> None:
    result = agree(trace, settings, n_batches=n_batches, frames=True)
    assert result.first is None
    assert len(result.tallies) == 20
    assert result.tallies["frames_ksm"].batches == n_batches


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_random_scenarios_give_the_kernels_counters(seed: int) -> None:
    assert_agrees(*random_scenario(seed))


@pytest.mark.parametrize("seed", range(3))
def test_huge_frames_give_the_kernels_counters(seed: int) -> None:
    assert_agrees(*huge_scenario(seed))


def test_a_difference_is_seen() -> None:
    """The comparison can fail: an engine with another setting differs."""
    trace, settings, n_batches = random_scenario(1000)
    ours = replay_batches(trace, "ksm-6.18", settings | {"smart_scan": 1 - settings["smart_scan"]}, n_batches=n_batches)
    result = compare(ours, play_on_kernel(trace, n_batches=n_batches, **settings))
    assert result.differs
    assert str(result.first).startswith("batch ")
