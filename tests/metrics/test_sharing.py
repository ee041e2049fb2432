"""Who shares what, on a trace small enough to count by hand."""

import numpy as np
import pytest

import ksmbench
from ksmbench.metrics.sharing import Sharing, domains_of
from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.schema import Kind

A, B, ZERO = 1, 2, 0


def _trace() -> Trace:
    # A in all three spaces, B twice in the first and once in the second, one page of their own each.
    pages = {0: [A, B, B, 3], 1: [A, B, 4], 2: [A, 5]}
    rows = []
    for space, contents in pages.items():
        rows.append((0, Kind.MAP, space, 100, len(contents), 0, space % 2))
        rows.append((0, Kind.MADVISE, space, 100, len(contents), 12, -1))
        rows += [(0, Kind.WRITE, space, 100 + i, 1, content, -1) for i, content in enumerate(contents)]
    # Later writes, each of a page of their own: the second space writes most, then the first.
    for space, times in ((1, 3), (0, 2), (2, 1)):
        last = 100 + len(pages[space]) - 1
        rows += [(10 * 10**9, Kind.TOUCH, space, last, 1, 0, -1)] * times
    time, kind, space_of, page, count, value, name = (np.array(column) for column in zip(*rows, strict=True))
    events = Events(
        time.astype(np.int64),
        kind.astype(np.uint8),
        space_of.astype(np.int32),
        page.astype(np.int64),
        count.astype(np.int64),
        value.astype(np.int64),
        np.zeros(len(rows), np.uint8),
        name.astype(np.int32),
    )
    spaces = tuple(Space(i, f"vm-{i}", "vm", "red" if i < 2 else "blue") for i in range(3))
    manifest = {"format": "ksmbench-trace", "version": 1, "page_size": 4096}
    contents = Contents(np.zeros(6, np.uint16), np.arange(6, dtype=np.uint32))
    return Trace(manifest, spaces, events, contents, ("ram", "rom"))


@pytest.fixture(scope="module")
def sharing() -> Sharing:
    """After all is merged."""
    found = ksmbench.replay(_trace(), pages_to_scan=1000, sharing=True).sharing
    assert found is not None
    return found


def test_who_shares_with_whom(sharing: Sharing) -> None:
    by_name = {
        (a, b): pages
        for a, row in zip(sharing.spaces, sharing.matrix, strict=True)
        for b, pages in zip(sharing.spaces, row, strict=True)
    }
    assert by_name == {
        ("vm-0", "vm-0"): 2,  # B with B
        ("vm-0", "vm-1"): 3,  # A, and B twice
        ("vm-0", "vm-2"): 1,
        ("vm-1", "vm-0"): 2,
        ("vm-1", "vm-1"): 0,
        ("vm-1", "vm-2"): 1,
        ("vm-2", "vm-0"): 1,
        ("vm-2", "vm-1"): 1,
        ("vm-2", "vm-2"): 0,
    }


def test_yield_per_mapping(sharing: Sharing) -> None:
    assert [(each.name, each.mergeable, each.merged) for each in sharing.mappings] == [("ram", 6, 4), ("rom", 3, 2)]


def test_what_is_possible_and_what_is_lost(sharing: Sharing) -> None:
    assert sharing.potential.possible == 4  # nine pages of five contents
    assert sharing.potential.opting_out == [("vm-0", 3), ("vm-1", 2), ("vm-2", 1)]
    assert sharing.potential.domains == [("red", 3), ("blue", 0)]
    assert sharing.potential.lost_to_domains == 1
    assert sharing.lost_to_max_page_sharing == 0


def test_the_limit_on_sharers_costs_a_frame() -> None:
    found = ksmbench.replay(_trace(), pages_to_scan=1000, max_page_sharing=2, sharing=True)
    assert found.sharing is not None
    by_frames = found.summary["oracle_saved_bytes"] - found.summary["saved_bytes"]  # type: ignore[operator]
    assert found.sharing.lost_to_max_page_sharing <= by_frames // 4096
    assert by_frames // 4096 == 2  # of each three equal pages two are merged


def test_the_cliff(sharing: Sharing) -> None:
    # vm-1 needs two frames; vm-0 three, and that of B is free then; vm-2 one, and that of A is free.
    assert sharing.writers == ["vm-1", "vm-0", "vm-2"]
    assert sharing.cliff == [0, 2, 4, 4]


def test_sharing_that_nobody_breaks_lasts(sharing: Sharing) -> None:
    assert sharing.lifetimes
    assert all(share == 1.0 for _, share in sharing.lifetimes)


def test_domains_may_be_given_by_patterns() -> None:
    assert domains_of(_trace(), {"one": "vm-[01]", "two": "vm-1"}) == ["one", "one", "blue"]
    found = ksmbench.replay(_trace(), sharing={"a": "vm-0", "b": "vm-1", "c": "vm-2"}).sharing
    assert found is not None
    assert found.potential.domains == [("a", 1), ("b", 0), ("c", 0)]


def test_looking_changes_nothing() -> None:
    plain, watched = ksmbench.replay(_trace()), ksmbench.replay(_trace(), sharing=True)
    assert plain.samples.equals(watched.samples)
    assert plain.summary == watched.summary
    assert plain.sharing is None
