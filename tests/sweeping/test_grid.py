"""Which replays a sweep consists of."""

import pytest

from ksmbench import UsageError
from ksmbench.sweeping.grid import MAX_REPLAYS, grid, parse_vary


def labels(designs: list[str], *texts: str) -> list[str]:
    """The grid of these designs and `--vary` texts."""
    return [str(spec) for spec in grid(designs, parse_vary(texts, designs), 1, MAX_REPLAYS)]


def test_every_combination_comes_once() -> None:
    assert labels(["ksm-6.18", "ksm-6.1,run=1"], "pages_to_scan=100,200", "sleep_millisecs=20,50") == [
        f"{design},pages_to_scan={pages},sleep_millisecs={sleep}"
        for design in ("ksm-6.18", "ksm-6.1,run=1")
        for pages in (100, 200)
        for sleep in (20, 50)
    ]


def test_what_means_the_same_is_one_point() -> None:
    assert labels(["ksm", "ksm-7.3", "ksm-7.3,smart_scan=1"], "pages_to_scan=100, 0100,100") == [
        "ksm-7.3,pages_to_scan=100"
    ]


def test_sets_of_words_are_told_apart_by_bars() -> None:
    assert labels(["madvise-rfc-2009"], "callbacks=none|exit,fork|fork,exit") == [
        "madvise-rfc-2009,callbacks=none",
        "madvise-rfc-2009,callbacks=fork,exit",
    ]
    assert labels(["madvise-rfc-2009"], "callbacks=fork,exit") == ["madvise-rfc-2009,callbacks=fork,exit"]
    assert labels(["ksm-6.18"], "pages_to_scan=1|2") == ["ksm-6.18,pages_to_scan=1", "ksm-6.18,pages_to_scan=2"]


@pytest.mark.parametrize(
    ("designs", "texts", "message"),
    [
        (["ksm-6.18", "ksm-6.1"], ["smart_scan=0,1"], 'design "ksm-6.1" has no setting "smart_scan"'),
        (["none"], ["pages_to_scan=1"], 'design "none" has no setting'),
        (["ksm-6.18"], ["page_to_scan=1"], 'did you mean "pages_to_scan"'),
        (["ksm-6.18"], ["pages_to_scan=many"], 'integers, not "many"'),
        (["ksm-6.18"], ["pages_to_scan=-1"], "must be an integer from 0"),
        (["ksm-6.18"], ["pages_to_scan"], "NAME=V1,V2"),
        (["ksm-6.18"], ["pages_to_scan=1,,2"], "NAME=V1,V2"),
        (["ksm-6.18"], ["run=1", "run=2"], "varied twice"),
        (["ksm-6.18,run=1"], ["run=1,2"], "set here and varied"),
        (["ksm-6.18"], [], "nothing to vary"),
        ([], ["run=1"], "at least one design"),
        (["ksm-6.81"], ["run=1"], "there is no design"),
    ],
)
def test_a_mistake_is_one_sentence(designs: list[str], texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        labels(designs, *texts)
    assert "\n" not in str(caught.value)


def test_an_enormous_grid_is_refused_before_it_is_made() -> None:
    many = {name: range(10**6) for name in ("pages_to_scan", "sleep_millisecs", "advisor_max_cpu")}
    with pytest.raises(UsageError, match=r"2,000,000,000,000,000,000 replays, more than --max-replays 2,000"):
        grid(["ksm-6.18"], many, 2, MAX_REPLAYS)
