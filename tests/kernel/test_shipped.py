"""The pages of real guests, written by real processes, give the kernel's counters batch by batch."""

from pathlib import Path

from ksmbench import designs
from ksmbench.trace.store import open_trace
from ksmbench.validate.agreement import agree
from ksmbench.validate.kernel import host_play
from ksmbench.validate.validating import from_trace
from tests.kernel.needs import needs_kernel

TRACES = Path(__file__).parents[2] / "traces"

pytestmark = needs_kernel


def test_the_idle_guests_give_the_kernels_counters() -> None:
    scenario = from_trace(open_trace(TRACES / "debian-idle-x4"), {"pages_to_scan": 4000}, batches=150)
    result = agree(scenario.trace, scenario.settings, host_play(), design=designs.DEFAULT)
    assert result.first is None
    assert len(result.ours.samples) == 150
    assert result.ours.samples["pages_sharing"][-1] > 10_000
