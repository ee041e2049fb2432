"""Scenarios that chance does not make."""

from __future__ import annotations

import numpy as np

from ksmbench.trace.schema import Advice, Kind
from ksmbench.validate.making import Row, make_contents, make_trace
from tests.naive.review.scenarios import Scenario

_FIRST = 0x1000


def many_regions() -> Scenario:
    """More regions than devksm allows one mm: what was asked for after 1,024 is not scanned, until one is removed."""
    contents = make_contents(np.random.default_rng(1), 3)
    rows: list[Row] = [(0, Kind.MAP, 0, _FIRST, 2100, 0), (0, Kind.WRITE, 0, _FIRST, 2100, 1)]
    rows += [(0, Kind.MADVISE, 0, _FIRST + 2 * k, 1, Advice.MERGEABLE) for k in range(1030)]
    rows += [(400_000_000, Kind.MADVISE, 0, _FIRST + 10, 1, Advice.UNMERGEABLE)]
    rows += [(500_000_000, Kind.MADVISE, 0, _FIRST + 1, 2, Advice.MERGEABLE)]  # one page of it is free
    rows += [(500_000_000, Kind.MADVISE, 0, _FIRST + 2080, 20, Advice.MERGEABLE)]
    rows += [(900_000_000, Kind.EXIT, 0, 0, 0, 0), (1_000_000_000, Kind.MARK, 0, 0, 0, 0)]
    return Scenario(make_trace(rows, contents), {"pages_to_scan": 400}, frozenset())
