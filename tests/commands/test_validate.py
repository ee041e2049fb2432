"""`ksmbench validate`: what it is told, and what it says; on the kernel itself where that may be used."""

import json
from pathlib import Path

import polars as pl
import pytest

from ksmbench.trace.store import write_trace
from ksmbench.validate import kernel
from ksmbench.validate.generate import generate
from tests.commands.running import assert_one_line_mistake, run
from tests.kernel.needs import needs_kernel
from tests.validate.fake import engine_as_kernel

PLAIN = ["smart_scan"]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    write_trace(generate(1, PLAIN).trace, tmp_path / "scenario")
    return tmp_path / "scenario"


def test_mistakes(trace: Path) -> None:
    assert_one_line_mistake(run("validate", trace, "--seed", 3))
    assert_one_line_mistake(run("validate", "--set", "run=1"))
    assert_one_line_mistake(run("validate", trace, "--design", "none-such"))
    assert_one_line_mistake(run("validate", trace, "--set", "stable_node_chains_prune_millisecs=2000"))
    assert_one_line_mistake(run("validate", trace, "--design", "oracle"))
    assert_one_line_mistake(run("validate", trace.parent / "nothing"))


def test_a_difference_is_exit_status_1(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "host_play", lambda **_: engine_as_kernel(pages_to_scan=3))
    done = run("validate", trace, "--set", "pages_to_scan=4", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert not said["agrees"]
    assert said["differences"][0]["name"] == "scenario"
    done = run("validate", "--scenarios", 1, "--save", tmp_path / "short")
    assert done.returncode == 1
    assert "differs: seed 0: " in done.stdout
    assert (tmp_path / "short" / "seed-0" / "trace.json").is_file()


@needs_kernel
def test_scenarios_on_the_kernel(tmp_path: Path) -> None:
    done = run("validate", "--scenarios", 2, "--seed", 5, "-o", tmp_path / "both.parquet")
    assert done.returncode == 0, done.stdout
    assert "no difference" in done.stdout
    both = pl.read_parquet(tmp_path / "both.parquet").filter(pl.col("space").is_null())
    kernels = both.filter(source="kernel")["pages_scanned"].to_list()
    assert both.filter(source="engine")["pages_scanned"].to_list() == kernels


@needs_kernel
def test_a_trace_on_the_kernel(trace: Path) -> None:
    done = run("validate", trace, "--batches", 20, "--set", "pages_to_scan=7", "--frames", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 0, said
    assert said["batches"] == 20
    assert {"pages_shared", "frames_ksm", "page has frame"} <= {counter["name"] for counter in said["counters"]}
