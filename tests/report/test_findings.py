"""The sentences say what the numbers say."""

from typing import Any

from ksmbench.report.findings import against_default, findings

MIB = 1 << 20


def row(label: str, saved: int, cpu: float | None, **more: Any) -> dict[str, Any]:
    price = None if cpu is None or saved <= 0 else cpu * 1000
    share = {"oracle_share": saved / 100, "scan_cost_cpu_share": cpu, "cpu_s_per_gib_saved": price}
    return {"label": label, "design": "ksm-6.18", "saved_bytes": saved * MIB} | share | more


def test_the_most_saving_and_the_cheapest_are_named() -> None:
    rows = [row("slow", 40, 0.01, cow_breaks=3), row("fast", 90, 0.2, cow_breaks=1000)]
    said = findings(rows, 400 * MIB, 100 * MIB)
    assert said == [
        "At the end of this trace at most 100.0 MiB can be saved, "
        "25.0 % of the 400.0 MiB that are used without merging.",
        "`fast` saves most, 90.0 MiB (90.0 % of what the oracle saves), for 20.00 % of one CPU.",
        "`slow` saves at the lowest price, 10.00 CPU seconds per GiB, but only 40.0 MiB (40.0 % of the oracle's).",
        "Copy-on-write breaks range from 3 (`slow`) to 1,000 (`fast`).",
    ]


def test_of_equals_the_one_with_less_cpu_time_comes_first() -> None:
    said = findings([row("a", 1000, 0.2, time_to_90_percent_s=5.0), row("b", 999, 0.1)], 0, 1000 * MIB)
    assert said[1].startswith("`b` takes the least CPU time of those that save most: 999.0 MiB")
    assert said[2] == "`a` saves about as much for 20.00 % of one CPU, nine tenths of it after 5.0 s."
    assert said[3] == "`b` is also the cheapest, 100.00 CPU seconds per GiB."


def test_nothing_saved_and_nothing_to_save() -> None:
    assert findings([row("a", 0, 0.1)], 400 * MIB, 100 * MIB)[1:] == ["No design saved memory."]
    assert findings([row("a", -1, None)], 400 * MIB, 0)[0].startswith("Nothing could be saved")


def test_the_default_is_measured_against_the_others() -> None:
    default = row("default", 50, 0.1, is_default=True)
    assert against_default([default, row("dear", 90, 0.2), row("little", 10, 0.01)]) == [
        "The default of `ksm-6.18` saves 50.0 MiB for 10.00 % of one CPU; nothing here is better in both."
    ]
    assert against_default([default, row("more", 60, 0.1), row("less", 50, 0.05)]) == [
        "The default of `ksm-6.18` saves 50.0 MiB for 10.00 % of one CPU; `more` saves 60.0 MiB for 10.00 %; "
        "`less` saves no less for 5.00 %."
    ]
    assert against_default([default, row("both", 60, 0.05)])[0].endswith("; `both` saves 60.0 MiB for 5.00 %.")
    assert against_default([row("other", 60, 0.05)]) == []
