"""The pages of real guests, written by real processes, give the kernel's counters batch by batch."""

from pathlib import Path

from ksmbench.trace.store import open_trace
from ksmbench.validate.agreement import agree
from tests.kernel.needs import needs_kernel
from tests.kernel.shipped import squeezed

TRACES = Path(__file__).parents[2] / "traces"
N_BATCHES = 200

pytestmark = needs_kernel


def test_the_idle_guests_give_the_kernels_counters() -> None:
    trace = squeezed(open_trace(TRACES / "debian-idle-x4"), N_BATCHES)
    settings = {"pages_to_scan": 3000, "stable_node_chains_prune_millisecs": 0}
    result = agree(trace, settings, n_batches=N_BATCHES)
    assert result.first is None
    assert result.ours.samples["pages_sharing"][-1] > 10_000
