"""Profile files: written, read again, and refused with a sentence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ksmbench.engine.cost import DEFAULT, CostProfile, descent_ns, find_profile, read_profile
from ksmbench.errors import UsageError

FIRST_FORMAT = {
    "name": "old",
    "source": "somewhere",
    "hz": 250,
    "batch_ns": 17000.0,
    "scanned_ns": 420.0,
    "skipped_ns": 210.0,
    "checksum_ns": 520.0,
    "comparison_ns": 300.0,
    "compared_kib_ns": 79.0,
    "merge_ns": 300.0,
}


def written(path: Path, data: object) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_profile(written(tmp_path / "p.json", DEFAULT.as_dict())) == DEFAULT
    assert find_profile(str(tmp_path / "p.json")) == DEFAULT


def test_provenance_tells_prices_apart_and_leaves_out_how_each_was_measured() -> None:
    told = DEFAULT.identity()
    assert set(told) == {"name", "source", "digest", "left_out_error_percent"}
    assert replace(DEFAULT, name="other", measured={}).identity()["digest"] == told["digest"]
    assert replace(DEFAULT, merge_ns=DEFAULT.merge_ns + 1).identity()["digest"] != told["digest"]
    assert "left_out_error_percent" not in replace(DEFAULT, measured={}).identity()


def test_the_first_format_is_still_read(tmp_path: Path) -> None:
    old = read_profile(written(tmp_path / "p.json", FIRST_FORMAT))
    assert old.stable_comparison_ns == old.unstable_comparison_ns == (300.0,)
    assert old.warm_levels == ()
    assert old.merge_ns == 300.0
    assert old.long_comparison_ns == old.item_made_ns == 0.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 3}, "format 3 is not known here"),
        ({"hz": 0}, "hz must be an integer from 1 to 10000"),
        ({"hz": True}, "hz must be"),
        ({"batch_ns": 0}, "batch_ns must be at least 1"),
        ({"merge_ns": -1}, "merge_ns must be a number from 0"),
        ({"merge_ns": "3"}, "merge_ns must be a number"),
        ({"merge_ns": 1e9}, "merge_ns must be a number from 0 to 10,000,000"),
        ({"checksum_ns": None}, "checksum_ns must be a number"),
        ({"warm_levels": [12.0, 6.0]}, "warm_levels must rise"),
        ({"warm_levels": [99.0, 100.0]}, "warm_levels: its numbers must be from 0 to 64"),
        ({"cold_share": 1.5}, "cold_share must be a number from 0 to 1"),
        ({"stable_comparison_ns": [1.0]}, "a price more than there are of them"),
        ({"unstable_comparison_ns": 3.0}, "unstable_comparison_ns must be a list"),
        ({"unstable_comparison_ns": [1.0] * 50}, "a list of at most 8 numbers"),
        ({"name": 5}, "name and source must be texts"),
        ({"measured": []}, "measured an object"),
    ],
)
def test_what_is_no_profile_is_told_in_a_sentence(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    good = CostProfile(
        **{name: value for name, value in FIRST_FORMAT.items() if name != "comparison_ns"},
        stable_comparison_ns=(1.0, 2.0, 3.0),
        unstable_comparison_ns=(1.0, 2.0, 3.0),
        warm_levels=(6.6, 12.6),
    ).as_dict()
    with pytest.raises(UsageError, match=says):
        read_profile(written(tmp_path / "p.json", good | change))


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{}", '{"format": 2}', "NaN", '{"hz": 1e999}', "[" * 100_000, "x" * 2_000_000]
)
def test_other_files_are_no_profiles(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="not a cost profile"):
        read_profile(written(tmp_path / "p.json", text))


def test_infinite_prices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="merge_ns must be a number"):
        read_profile(written(tmp_path / "p.json", json.dumps(FIRST_FORMAT | {"merge_ns": float("inf")})))


def test_a_search_costs_more_beyond_the_caches() -> None:
    table = descent_ns((10.0, 5.0, 1.0), (2.0, 3.5))
    assert table[:6].tolist() == [0.0, 10.0, 20.0, 35.0, 50.5, 66.5]


def test_the_default_says_where_it_was_measured() -> None:
    assert "EPYC" in DEFAULT.source
    assert "6.18.44" in DEFAULT.source
    assert DEFAULT.measured["left_out_error_percent"]["median"] < 20
    assert {"processor", "kernel", "date", "loads"} <= DEFAULT.measured.keys()
