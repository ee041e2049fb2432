"""Differences between designs in words, and as a table where there are many; no difference is a result."""

from typing import Any

from ksmbench.report.differences import MANY, differences

MIB = 1 << 20
FIRST = {"label": "a", "design": "ksm-6.18", "saved_bytes": 10 * MIB, "scan_cost_cpu_share": 0.02, "cow_breaks": 5}


def other(label: str, **change: Any) -> dict[str, Any]:
    return FIRST | {"label": label} | change


def test_differences_are_told_in_words() -> None:
    rows = [
        FIRST,
        other("b", saved_bytes=22.3 * MIB, scan_cost_cpu_share=0.09),
        other("c", saved_bytes=10 * MIB - 4096, cow_breaks=3),
        other("d"),
        other("e", frames=7),
    ]
    assert differences(rows)["sentences"] == [
        "`b` against `a`: 12.3 MiB more saved, 7.00 % of one CPU more; 1 of 3 numbers equal.",
        "`c` against `a`: under 0.1 MiB less saved, 2 fewer copy-on-write breaks; 1 of 3 numbers equal.",
        "`d` against `a`: no difference in any of 3 numbers.",
        "`e` against `a`: 1 number of those in the summary; 3 of 4 numbers equal.",
    ]


def test_many_are_a_table() -> None:
    rows = [FIRST, *(other(f"b{i}", saved_bytes=(10 + i) * MIB) for i in range(MANY + 1))]
    found = differences(rows)
    assert found["sentences"] == []
    table = found["table"]
    assert [row[:3] for row in table["rows"][:2]] == [["`b0`", "=", "="], ["`b1`", "+1.0", "="]]
    assert [row[-1] for row in table["rows"][:2]] == ["all, no difference", "2 of 3"]
    assert {len(row) for row in table["rows"]} == {len(table["heads"])}


def test_bounds_are_no_designs() -> None:
    assert differences([{"label": "none", "design": "none"}]) == differences([])
