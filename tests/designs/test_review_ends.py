"""A replay of the designs of 2009 ends, or says why it cannot."""

import numpy as np
import pytest

from ksmbench.designs import review
from ksmbench.errors import UsageError
from ksmbench.replaying import replay
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind
from ksmbench.validate.making import make_contents, make_trace

NAMES = [design.name for design in review.DESIGNS]


def _storing(name: str, value: int) -> Trace:
    rows = [
        (0, Kind.MAP, 0, 0x1000, 10, 0),
        (0, Kind.MADVISE, 0, 0x1000, 10, Advice.MERGEABLE),
        (0, Kind.WRITE, 0, 0x1000, 10, 1),
        (50_000_000, Kind.TUNE, 0, 0, 0, value),
        (100_000_000, Kind.MARK, 0, 0, 0, 0),
    ]
    return make_trace(rows, make_contents(np.random.default_rng(1), 3), (name,), {3: 0})


@pytest.mark.parametrize("design", NAMES)
def test_time_does_not_stand_still(design: str) -> None:
    with pytest.raises(UsageError, match="time would stand still"):
        replay(_storing("sleep_millisecs", 0), design=design, cost="none", sample="end")
    assert replay(_storing("sleep_millisecs", 0), design=design, sample="end").samples["frames"][-1] == 1
