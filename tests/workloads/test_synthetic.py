"""Synthetic workloads: valid, the same each time, and with the effect that their READMEs tell, in a replay."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ksmbench
from ksmbench.recipes import find
from ksmbench.result import Result
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from workloads.almost_equal_pages.story import AlmostEqual
from workloads.many_copies.story import ManyCopies
from workloads.same_bytes_again.story import SameBytes
from workloads.sparse_terabyte.story import Sparse
from workloads.synthesis import make
from workloads.synthetic.memory import Synthetic
from workloads.telling import grouped_contents, tailed_contents

PATHOLOGIES: dict[str, Any] = {
    "almost-equal-pages": AlmostEqual,
    "sparse-terabyte": Sparse,
    "same-bytes-again": SameBytes,
    "many-copies": ManyCopies,
}
PLAIN: dict[str, Any] = {"seconds": 5.0, "pages": 2000, "write_rate": 0.0, "children": 0, "churn": 0.0, "fill": 0.0}


def _last(result: Result) -> dict[str, Any]:
    return result.samples.row(-1, named=True)


def _replay(name: str, design: str = "ksm-6.18", **settings: int | str) -> Result:
    return ksmbench.replay(make(name, PATHOLOGIES[name], {}), design, pages_to_scan=1000, **settings)


def _synthetic(**given: Any) -> Trace:
    return make("synthetic", Synthetic, PLAIN | given)


def _of(trace: Trace, kind: Kind) -> int:
    return int(np.count_nonzero(trace.events.kind == kind))


@pytest.mark.parametrize(("name", "kind"), [*PATHOLOGIES.items(), ("synthetic", Synthetic)])
def test_a_workload_is_a_valid_trace_the_same_each_time_and_replays(name: str, kind: Any, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        ksmbench.write_trace(make(name, kind, {}), tmp_path / folder)
    assert all(
        (tmp_path / "one" / file.name).read_bytes() == file.read_bytes() for file in (tmp_path / "other").iterdir()
    )
    result = ksmbench.replay(tmp_path / "one", pages_to_scan=1000, check=True)
    assert result.summary["seconds"] == find(name).settings["seconds"]
    assert result.samples["pages_sharing"].max() > 0  # type: ignore[operator]


def test_comparisons_of_almost_equal_pages_read_whole_pages() -> None:
    last = _last(_replay("almost-equal-pages"))
    assert 4090 < last["compared_bytes"] / last["comparisons"] <= 4096
    assert last["pages_sharing"] == 500
    small = _synthetic(duplicated=0.2)
    other = _last(ksmbench.replay(small, pages_to_scan=1000))
    assert other["compared_bytes"] / other["comparisons"] < 1000


def test_a_sparse_terabyte_costs_a_step_an_address_in_2009_and_none_today() -> None:
    today = _replay("sparse-terabyte")
    assert _last(today)["pages_sharing"] == 1000
    assert today.samples["pages_sharing"][1] == 1000  # within a second
    for design in ("devksm-2009", "madvise-rfc-2009", "ksm-rollup-2009"):
        then = _last(_replay("sparse-terabyte", design))
        assert then["steps_absent"] > 1_200_000
        assert then["pages_sharing"] == 0
    walked = _replay("sparse-terabyte", "ksm-2.6.32")
    assert _last(walked)["steps_absent"] == (1 << 28) - 1
    assert walked.summary["scan_cost_cpu_share"] > 1


def test_writes_of_the_same_bytes_break_and_merge_again() -> None:
    clever, plain = _replay("same-bytes-again"), _replay("same-bytes-again", smart_scan=0)
    for result in (clever, plain):
        last = _last(result)
        assert last["cow_breaks"] > 10_000
        assert last["merges"] > last["cow_breaks"]
        assert result.samples["pages_sharing"].max() == 3000
    assert clever.summary["oracle_share"] < 0.9 < plain.summary["oracle_share"]
    assert clever.summary["saved_bytes_mean"] < plain.summary["saved_bytes_mean"]


def test_more_copies_than_max_page_sharing_need_frames_in_chains_that_stay() -> None:
    samples = _replay("many-copies").samples
    assert set(samples["pages_shared"][1:]) == {33}
    assert set(samples["stable_node_dups"][1:]) == {33}
    assert set(samples["stable_node_chains"][1:]) == {3}
    assert samples["pages_sharing"][-1] < samples["pages_sharing"][15] == 8400 - 33
    assert set(_replay("many-copies", "ksm-4.4").samples["pages_shared"][1:]) == {3}


def test_what_contents_have_in_common_is_what_their_bytes_would_have() -> None:
    def common(pages: list[bytes]) -> list[int]:
        assert pages == sorted(pages)
        return [
            0,
            *(next(i for i in range(4096) if a[i] != b[i]) for a, b in zip(pages, pages[1:], strict=False)),
        ]

    zero = bytes(4096)
    grouped = [(i // 3 + 1).to_bytes(4) + b"\1" * 196 + (i % 3 + 1).to_bytes(4) + bytes(3892) for i in range(900)]
    assert common([zero, *grouped]) == grouped_contents(900, 3, 200).lcp.tolist()
    tailed = [bytes(4088) + i.to_bytes(8) for i in range(1, 900)]
    assert common([zero, *tailed]) == tailed_contents(899).lcp.tolist()


def test_parameters_of_pages_are_what_the_trace_has() -> None:
    facts = _facts(_synthetic(zero=0.25, duplicated=0.5, classes=100))
    assert facts["pages"] == 2000
    assert 400 < facts["zero_pages"] < 600
    assert 700 < facts["distinct_contents"] - 100 < 800  # of their own: half of three quarters
    skewed = _facts(_synthetic(zero=0.0, duplicated=1.0, classes=1000, skew=2.0))
    alike = _facts(_synthetic(zero=0.0, duplicated=1.0, classes=1000, skew=0.0))
    assert skewed["distinct_contents"] < 100 < 800 < alike["distinct_contents"]


def _facts(trace: Trace) -> dict[str, int]:
    from ksmbench.trace.describe import describe

    return dict(describe(trace)["memory"]["end"])


def test_parameters_of_writes_are_what_the_trace_has() -> None:
    trace = _synthetic(write_rate=1000.0, processes=1, hot=0.1, hot_writes=0.9, same=0.5)
    later = trace.events.time_ns > 0
    touched = trace.events.page[later & (trace.events.kind == Kind.TOUCH)]
    written = trace.events.page[later & (trace.events.kind == Kind.WRITE)]
    assert 4500 < len(touched) + len(written) < 5500
    assert 0.45 < len(touched) / (len(touched) + len(written)) < 0.55
    hot = np.concatenate([touched, written]) < touched.min() + 200
    assert 0.88 < hot.mean() < 0.94


def test_forks_make_trees_and_churn_comes_and_goes() -> None:
    tree = _synthetic(seconds=10.0, processes=2, children=2, generations=2, fork_at=1.0, fork_apart=2.0)
    assert _of(tree, Kind.FORK) == 2 * (2 + 4)
    assert _facts(tree)["frames"] == 2000
    assert _facts(tree)["pages"] == 7000 * 2
    churn = _synthetic(seconds=40.0, churn=5.0, churn_pages=10, lifetime=1.0)
    assert 150 < len(churn.spaces) - 4 < 250
    assert _of(churn, Kind.EXIT) > 130
    asked = _synthetic(seconds=40.0, churn=5.0, churn_pages=10, mergeable=0.0)
    assert _of(asked, Kind.MADVISE) == 0


def test_without_change_a_scan_ends_at_the_oracle() -> None:
    result = ksmbench.replay(_synthetic(seconds=20.0), pages_to_scan=1000, use_zero_pages=1)
    assert result.summary["oracle_share"] == 1.0


def test_a_million_pages_are_made_in_seconds_as_arrays() -> None:
    parameters = Synthetic(**find("synthetic").settings)  # type: ignore[arg-type]
    trace = replace(parameters, pages=1_000_000).tell()
    assert np.count_nonzero(trace.events.kind == Kind.WRITE) > 1_000_000
