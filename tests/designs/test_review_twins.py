"""Each design of 2009 equals its naive twin in every column after every batch, and at the end.

The twins (`tests.naive.review`) were written from `docs/designs-2009.md`, without a look at the engine;
`python -m tests.naive.review 500` compares 500 scenarios of each.
"""

import pytest

from tests.naive.review.agreement import difference
from tests.naive.review.directed import (
    index_bug_at_edges,
    many_regions,
    outside_at_a_fork,
    shared_where_nothing_asked,
    stopped,
    taken_back_by_a_child,
    travelling,
)
from tests.naive.review.replay import DESIGNS
from tests.naive.review.scenarios import scenario
from tests.naive.work import EVERY_PRICE


@pytest.mark.parametrize("name", DESIGNS)
def test_designs_of_2009_agree_with_their_twins(name: str) -> None:
    found = {seed: difference(name, scenario(name, seed), EVERY_PRICE if seed % 2 else None) for seed in range(14)}
    assert {seed: wrong for seed, wrong in found.items() if wrong} == {}


def test_more_regions_than_an_mm_may_have() -> None:
    assert difference("devksm-2009", many_regions()) is None


@pytest.mark.parametrize("name", DESIGNS)
def test_what_a_child_takes_back(name: str) -> None:
    assert difference(name, taken_back_by_a_child()) is None


@pytest.mark.parametrize("pages_to_scan", [0, 1, 25, 26])
@pytest.mark.parametrize("first_region", [1, 2])
def test_the_index_bug_at_edges(pages_to_scan: int, first_region: int) -> None:
    assert difference("devksm-2009", index_bug_at_edges(pages_to_scan, first_region)) is None


def test_items_that_travel_and_pairs_outside() -> None:
    for make in (travelling, outside_at_a_fork):
        found = {seed: difference("madvise-rfc-2009", make(seed)) for seed in range(12)}
        assert {seed: wrong for seed, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("name", DESIGNS)
def test_merged_frames_in_mappings_that_never_asked(name: str) -> None:
    assert difference(name, shared_where_nothing_asked()) is None


@pytest.mark.parametrize(
    ("name", "words"), [("ksm-rollup-2009", {"list": "vma"}), ("ksm-rollup-2009", {}), ("ksm-2.6.32", {})]
)
def test_everything_unmerged_in_mid_pass(name: str, words: dict[str, str]) -> None:
    made = {seed: stopped(seed) for seed in range(40)}
    found = {seed: difference(name, one._replace(settings=one.settings | words)) for seed, one in made.items()}
    assert {seed: wrong for seed, wrong in found.items() if wrong} == {}
