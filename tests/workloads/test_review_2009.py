"""The workloads of the 2009 review: valid, the same each time, and what their parameters say."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ksmbench
from ksmbench.errors import UsageError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from workloads.review_2009.__main__ import main
from workloads.review_2009.directed import SCENARIOS
from workloads.review_2009.workloads import NAMES, make
from workloads.telling import grouped_contents

SMALL = {
    "prefork": {"seconds": 20, "data_pages": 128, "workers": 3, "lifetime": 4},
    "vms": {"seconds": 20, "short": 6, "ram_pages": 200, "lifetime": 4},
    "allocators": {"seconds": 15, "processes": 3},
    "crowd": {"seconds": 10, "processes": 80},
    "idle": {"seconds": 15, "processes": 60, "sparse_pages": 4096},
    "churn": {"seconds": 25, "processes": 4, "chunks": 6},
    "unmodified": {"seconds": 10, "pages": 400, "asking_pages": 100},
}


def _count(trace: Trace, kind: Kind) -> int:
    return int((trace.events.kind == kind).sum())


@pytest.mark.parametrize("name", NAMES)
def test_a_workload_is_a_valid_trace_and_replays(name: str, tmp_path: Path) -> None:
    ksmbench.write_trace(make(name, **SMALL[name]), tmp_path / name)
    trace = ksmbench.open_trace(tmp_path / name)
    result = ksmbench.replay(trace, pages_to_scan=1000, check=True)
    assert result.summary["seconds"] == SMALL[name]["seconds"]
    assert result.samples["pages_sharing"].max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_each_time(name: str) -> None:
    one, other = make(name, **SMALL[name]), make(name, **SMALL[name])
    assert all(np.array_equal(a, b) for a, b in zip(one.events, other.events, strict=True))
    assert one.manifest == other.manifest
    different = make(name, **{**SMALL[name], "seed": 99})
    assert not all(np.array_equal(a, b) for a, b in zip(one.events, different.events, strict=True))


def test_the_verbs_that_the_questions_are_about_are_there() -> None:
    prefork = make("prefork", **SMALL["prefork"])
    assert _count(prefork, Kind.FORK) == len(prefork.spaces) - 2 > 6
    assert _count(prefork, Kind.EXIT) > 0
    assert _count(make("allocators", **SMALL["allocators"]), Kind.MOVE) > 20
    assert _count(make("vms", **SMALL["vms"]), Kind.EXIT) > 0
    churn = make("churn", **SMALL["churn"])
    assert _count(churn, Kind.UNMAP) > 50
    assert _count(churn, Kind.FORK) == 3
    unmodified = make("unmodified", **SMALL["unmodified"])
    advised = unmodified.events.space[unmodified.events.kind == Kind.MADVISE]
    assert sorted(set(advised.tolist())) == [1, 2, 3, 4]


def test_a_crowd_has_the_processes_it_says_and_half_of_them_are_forked() -> None:
    crowd = make("crowd")
    assert len(crowd.spaces) == 1500 + 5
    assert 0.45 < _count(crowd, Kind.FORK) / 1500 < 0.55


def test_half_of_the_contents_agree_with_the_one_before() -> None:
    contents = grouped_contents(1000)
    pages = [bytes(4096)] + [
        (i // 2 + 1).to_bytes(4, "big") + b"\1" * 100 + (i % 2 + 1).to_bytes(4, "big") + bytes(3988)
        for i in range(1000)
    ]
    assert pages == sorted(pages)
    for i in range(1, 1001):
        equal = next(k for k in range(4096) if pages[i - 1][k] != pages[i][k])
        assert contents.lcp[i] == equal, i


def test_an_unknown_parameter_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="vms has no parameter guests; it has seed, seconds, long"):
        make("vms", guests=3)


def test_the_command_makes_and_tells(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(main, ["list"], catch_exceptions=False).output
    assert all(name in listed for name in (*NAMES, *SCENARIOS))
    small = ["make", "unmodified", "--set", "seconds=5", "--set", "pages=100"]
    assert run(main, [*small, "-o", str(tmp_path / "u")], catch_exceptions=False).exit_code == 0
    assert ksmbench.open_trace(tmp_path / "u").manifest["synthetic"]["pages"] == 100
    told = run(main, ["make", "quota", "-o", str(tmp_path / "q")], catch_exceptions=False).output
    assert "at 4.99 s frames_ksm is 320 in devksm-2009, madvise-rfc-2009" in told
    refused = run(main, ["make", "prefork", "--set", "workers=many", "-o", str(tmp_path / "x")])
    assert refused.exit_code == 2


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_directed_scenario_is_a_valid_trace_and_replays(name: str, tmp_path: Path) -> None:
    ksmbench.write_trace(SCENARIOS[name]().trace, tmp_path / name)
    ksmbench.replay(ksmbench.open_trace(tmp_path / name), cost="none", check=True, pages_to_scan=2000)
