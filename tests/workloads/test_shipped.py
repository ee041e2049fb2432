"""The shipped traces: they open, are what manifest and README say, are small, and give away no bytes and no places."""

import json
import re
import tomllib
from hashlib import sha256

import numpy as np
import pyarrow.parquet as pq
import pytest

import ksmbench
from ksmbench.recipes import recipes
from ksmbench.trace.schema import Kind
from workloads import shipped
from workloads.shipped import FOLDER, MAX_BYTES, MAX_BYTES_ALL

NAMES = shipped.names()
MANIFEST = tomllib.loads(shipped.MANIFEST.read_text())
REAL = [recipe.name for recipe in recipes().values() if recipe.kind == "real"]


def test_every_real_workload_is_shipped_and_told_of() -> None:
    assert sorted(NAMES) == sorted(REAL)
    text = (FOLDER / "README.md").read_text()
    for name in NAMES:
        assert f"\n| `{name}` | " in text
    assert MANIFEST["licence"] == "CC0-1.0"
    assert (FOLDER / "LICENSE").read_text().startswith("Creative Commons Legal Code\n\nCC0 1.0 Universal")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_trace_opens_and_is_what_the_manifest_says(name: str) -> None:
    trace = ksmbench.open_trace(FOLDER / name)
    told = MANIFEST[name]
    files = {path.name: sha256(path.read_bytes()).hexdigest() for path in (FOLDER / name).iterdir()}
    assert files == told["sha256"]
    assert told["when"].isoformat() == trace.manifest["created"]
    assert told["how"] == trace.manifest["capture"]["recipe"]
    assert trace.manifest["label"] == name
    assert trace.manifest["host"]["ksm"]["run"] == 0
    assert trace.manifest["capture"]["end"]["complete"]


def test_they_are_small() -> None:
    sizes = {name: sum(path.stat().st_size for path in (FOLDER / name).iterdir()) for name in NAMES}
    assert max(sizes.values()) < MAX_BYTES
    assert sum(sizes.values()) < MAX_BYTES_ALL


@pytest.mark.parametrize("name", NAMES)
def test_they_give_away_no_bytes_and_no_places(name: str) -> None:
    assert pq.read_schema(FOLDER / name / "contents.parquet").names == ["lcp", "checksum"]
    trace = ksmbench.open_trace(FOLDER / name)
    assert trace.contents.checksum.max() < 1 << 24  # numbers of their own, no checksums of pages
    public = ("/usr/", "/etc/", "/lib/", "/dev/")
    assert all(not text.startswith("/") or text.startswith(public) for text in trace.names)
    text = json.dumps(trace.manifest)
    assert not re.search(r"/(root|home|work|tmp/wt)\b", text)


def test_the_readme_shows_the_figures_that_info_gives() -> None:
    # After new recordings: `python -m workloads.shipped write`.
    assert shipped.shown() == shipped.tables()
    assert shipped.MANIFEST.read_text() == shipped.manifest()


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("balloon-guest", (Kind.MADVISE,)),
        ("prefork-prctl-32", (Kind.FORK, Kind.PRCTL, Kind.EXIT)),
        ("short-functions", (Kind.FORK, Kind.EXIT)),
        ("database-cgroup", (Kind.FORK, Kind.PRCTL)),
    ],
)
def test_what_a_trace_is_for_is_in_it(name: str, kinds: tuple[Kind, ...]) -> None:
    events = ksmbench.open_trace(FOLDER / name).events
    for kind in kinds:
        assert np.count_nonzero(events.kind == kind) > 0
