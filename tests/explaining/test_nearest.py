"""Where pages first differ from their nearest: against every pair, and where a difference was planted."""

import numpy as np
import numpy.typing as npt
import pytest

from ksmbench.explaining.nearest import first_differences, ranges_of
from ksmbench.trace.ranking import ContentStore

PAGE = 4096


def _store(pages: npt.NDArray[np.uint8]) -> tuple[ContentStore, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    # The store, the rank of each page, and which content has each rank.
    store = ContentStore(PAGE)
    ids = store.add(pages)
    ranking = store.rank(private=False)
    stored = np.empty(len(store), np.int64)
    stored[ranking.rank] = np.arange(len(store))
    return store, ranking.rank[ids], stored


def _random_pages(seed: int) -> npt.NDArray[np.uint8]:
    # Some from a few images, changed in a few bytes here and there.
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 3, (4, PAGE)).astype(np.uint8)
    pages = images[rng.integers(0, 4, 40)]
    for page in pages:
        for _ in range(int(rng.integers(1, 4))):
            page[int(rng.integers(PAGE))] = rng.integers(256)
    return np.unique(pages, axis=0)


@pytest.mark.parametrize("seed", range(20))
def test_by_prefixes_it_is_the_longest_that_any_pair_has(seed: int) -> None:
    pages = _random_pages(seed)
    store, rank, _ = _store(pages)
    rng = np.random.default_rng([seed, 1])
    some = np.sort(rng.choice(len(pages), int(rng.integers(2, len(pages))), replace=False))
    found = first_differences(rank[some], np.sort(rank[some]), store.rank().contents.lcp, PAGE)
    for row, page in enumerate(pages[some]):
        others = np.delete(pages[some], row, axis=0)
        assert found.offset[row] == max(int(np.argmax(other != page)) for other in others)
    assert found.n_bytes is None


@pytest.mark.parametrize("seed", range(20))
def test_with_the_bytes_it_is_one_that_differs_in_as_many_bytes(seed: int) -> None:
    pages = _random_pages(seed)
    store, rank, stored = _store(pages)
    found = first_differences(rank, np.sort(rank), store.rank().contents.lcp, PAGE, store.words, stored)
    assert found.n_bytes is not None
    for row, page in enumerate(pages):
        others = np.delete(pages, row, axis=0) != page
        n = np.count_nonzero(others, axis=1)
        assert (n == found.n_bytes[row]).any()
        assert found.offset[row] in np.argmax(others[n == found.n_bytes[row]], axis=1)
        prefix = np.argmax(others, axis=1)
        assert found.n_bytes[row] <= n[prefix == prefix.max()].max()


@pytest.mark.parametrize("offset", [0, 1, 16, 2047, 4088, 4095])
def test_a_planted_difference_is_found_wherever_it_is(offset: int) -> None:
    rng = np.random.default_rng(offset)
    image = rng.integers(0, 256, PAGE).astype(np.uint8)
    pages = rng.integers(0, 256, (30, PAGE)).astype(np.uint8)
    pages[:10] = image
    pages[:10, offset] = np.arange(10) + 60
    store, rank, stored = _store(pages)
    found = first_differences(rank[:10], np.sort(rank), store.rank().contents.lcp, PAGE, store.words, stored)
    assert found.n_bytes is not None
    assert found.offset.tolist() == [offset] * 10
    assert found.n_bytes.tolist() == [1] * 10


def test_two_contents_and_one() -> None:
    pages = np.full((2, PAGE), 7, np.uint8)
    pages[1, 100] = 8
    store, rank, stored = _store(pages)
    lcp = store.rank().contents.lcp
    found = first_differences(rank, np.sort(rank), lcp, PAGE, store.words, stored)
    assert found.offset.tolist() == [100, 100]
    assert first_differences(rank[:1], rank[:1], lcp, PAGE).offset.tolist() == []


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 65536])
def test_ranges_cover_a_page(page_size: int) -> None:
    ranges = ranges_of(page_size)
    assert [offset for first, last in ranges for offset in range(first, last + 1)] == list(range(page_size))
