"""The engine equals the running kernel: every counter after every batch, the page tables' frames included.

A few scenarios; `ksmbench validate --scenarios 2000` plays as many as wanted.
"""

import pytest

from ksmbench import designs
from ksmbench.trace.columns import Trace
from ksmbench.validate.agreement import Agreement, agree
from ksmbench.validate.generate import generate
from ksmbench.validate.kernel import host_play
from tests.kernel.needs import needs_kernel
from tests.kernel.scenarios import huge_scenario, random_scenario
from tests.naive.directed import directed
from tests.naive.directed_rare import directed_rare

pytestmark = needs_kernel
KNOWN = [setting.name for setting in designs.find(designs.DEFAULT).settings]


def result_of(trace: Trace, settings: dict[str, int]) -> Agreement:
    """The agreement; what differs is played once more, as a page that somebody else held for a moment is not merged."""
    result = agree(trace, settings, host_play(frames=True), design=designs.DEFAULT)
    return agree(trace, settings, host_play(frames=True), design=designs.DEFAULT) if result.first else result


@pytest.mark.parametrize("seed", range(1000, 1003))
def test_random_scenarios_give_the_kernels_counters(seed: int) -> None:
    trace, settings, n_batches = random_scenario(seed)
    result = result_of(trace, settings)
    assert result.first is None
    assert len(result.tallies) >= 22  # and "merge events", where tracefs is there
    assert result.tallies["page has frame"].batches == n_batches
    assert result.tallies["frames_ksm"].batches == n_batches


def test_huge_frames_give_the_kernels_counters() -> None:
    assert result_of(*huge_scenario(0)[:2]).first is None


@pytest.mark.parametrize("seed", range(12))
def test_generated_scenarios_give_the_kernels_counters(seed: int) -> None:
    scenario = generate(seed, KNOWN)
    assert result_of(scenario.trace, scenario.settings).first is None


@pytest.mark.parametrize("name", ["E1:", "E13:", "E6:", "E9:", "nodes that are mapped after run=2"])
def test_directed_scenarios_give_the_kernels_counters(name: str) -> None:
    found = [scenario for scenario in (*directed(), *directed_rare()) if scenario[0].startswith(name)]
    assert found
    for _, trace, settings in found[:2]:
        assert result_of(trace, settings).first is None


def test_nothing_is_done_while_nothing_is_registered() -> None:
    trace, settings = next((trace, settings) for name, trace, settings in directed() if name.startswith("E6:"))
    result = result_of(trace, settings)
    assert result.tallies["nothing to do"].batches > 0
    assert result.first is None


def test_a_difference_is_seen() -> None:
    """The comparison can fail: a kernel with another setting differs."""
    trace, settings, _ = random_scenario(1000)
    play = host_play()
    other = settings | {"smart_scan": 1 - settings["smart_scan"]}
    result = agree(trace, settings, lambda trace, times, _: play(trace, times, other), design=designs.DEFAULT)
    assert result.differing
    assert str(result.first).startswith("batch ")
