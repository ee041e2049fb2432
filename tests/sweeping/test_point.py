"""What tells a replay of a sweep from others."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksmbench.sweeping import point


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package's sources, which results are known by."""
    copy = tmp_path / "package"
    shutil.copytree(point.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(point, "PACKAGE", copy)
    yield copy
    point.engine.cache_clear()


@pytest.mark.parametrize("changed", ["metrics/summary.py", "policies/mom.py", "designs/ksm/merge.py"])
def test_finished_replays_of_other_sources_are_not_taken_for_these(sources: Path, changed: str) -> None:
    before = point.engine()
    with open(sources / changed, "a") as file:
        file.write("# decides something else\n")
    point.engine.cache_clear()
    assert point.engine() != before
