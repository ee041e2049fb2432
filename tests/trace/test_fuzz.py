"""Valid traces, far wilder than any machine makes: `info` and every design take them, and agree."""

import pytest

from tests.trace.fuzz_events import play


@pytest.mark.parametrize("seed", [*range(40), 45])  # 45: a huge block with a file in it
def test_wild_traces_are_described_and_replayed(seed: int) -> None:
    play(seed)
