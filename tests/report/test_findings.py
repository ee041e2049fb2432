"""The sentences say what the numbers say."""

import random
from typing import Any

import pytest

from ksmbench.report.choosing import LEAST_PER_CPU, chosen_row
from ksmbench.report.findings import against_default, findings, headline

MIB = 1 << 20


def row(label: str, saved: float, cpu: float | None, **more: Any) -> dict[str, Any]:
    price = None if cpu is None or saved <= 0 else cpu * 1000
    share = {"oracle_share": saved / 100, "scan_cost_cpu_share": cpu, "cpu_s_per_gib_saved": price}
    sizes = {"saved_bytes": saved * MIB, "saved_bytes_net": (saved - 1) * MIB, "oracle_saved_bytes": 100 * MIB}
    return {"label": label, "design": "ksm-6.18"} | sizes | share | more


def test_the_named_the_most_saving_and_the_cheapest_are_told() -> None:
    rows = [
        row("cheap", 20, 0.001, cow_breaks=3),
        row("named", 60, 0.01, cow_breaks=7),
        row("fast", 90, 0.2, cow_breaks=1000),
    ]
    said = findings(rows, 400 * MIB, 100 * MIB)
    assert said == [
        "At the end of this trace at most 100.0 MiB can be saved, "
        "25.0 % of the 400.0 MiB that are used without merging.",
        "`named` saves 60.0 MiB (60.0 % of what the oracle saves), 59.0 MiB net, for 1.00 % of one CPU. It is named "
        "first by a rule: another 1 % of one CPU has to bring another 10.0 MiB net (1 % of what the oracle saves, "
        "and at least 10.0 MiB); what saves more costs more than that.",
        "`fast` saves most net, 89.0 MiB for 20.00 % of one CPU: 30.0 MiB more for 19.00 % of one CPU more.",
        "`cheap` saves at the lowest price, 1.00 CPU seconds per GiB: 20.0 MiB (20.0 % of what the oracle saves).",
        "Copy-on-write breaks range from 3 (`cheap`) to 1,000 (`fast`).",
    ]


def test_of_equals_the_one_with_less_cpu_time_is_named() -> None:
    rows = [row("a", 80, 0.02), row("b", 80, 0.01)]
    assert chosen_row(rows) is rows[1]
    said = findings(rows, 0, 100 * MIB)
    assert said[1].startswith(
        "`b` saves most net: 80.0 MiB (80.0 % of what the oracle saves), 79.0 MiB net, for 1.00 % of"
    )
    assert said[1].endswith("nothing cheaper saves enough.")
    assert said[2] == "`b` also saves at the lowest price, 10.00 CPU seconds per GiB."


@pytest.mark.parametrize("possible", [100 * MIB, 8 << 30])
def test_no_dearer_design_is_worth_more_than_the_named_and_no_cheaper_one_either(possible: int) -> None:
    numbers = random.Random(4)
    for _ in range(200):
        rows = [
            row(str(i), numbers.uniform(-0.1, 1) * possible / MIB, numbers.random() / 5, oracle_saved_bytes=possible)
            for i in range(8)
        ]
        chosen = chosen_row(rows)
        assert (chosen is None) == all(each["saved_bytes"] <= 0 for each in rows)
        for each in rows if chosen else []:
            more = each["saved_bytes_net"] - chosen["saved_bytes_net"]
            dearer = each["scan_cost_cpu_share"] - chosen["scan_cost_cpu_share"]
            if each["saved_bytes"] > 0:
                assert more <= dearer * max(possible, LEAST_PER_CPU) + 1


def test_what_is_not_worth_its_cpu_time_is_said() -> None:
    rows = [row("a", 5, 0.5), row("b", 4, 0.6)]
    said = findings(rows, 0, 100 * MIB)
    assert said[1].endswith("nothing here is worth its CPU time; this comes nearest.")
    assert (headline(chosen_row(rows)) or "").startswith("Merging is hardly worth its CPU time here: `a` comes")


@pytest.mark.parametrize("unknown", [None, 0.0], ids=["not told", "replayed at no cost"])
def test_without_cpu_times_the_highest_saving_is_named(unknown: float | None) -> None:
    rows = [row("a", 5, unknown), row("b", 7, unknown)]
    assert chosen_row(rows) is rows[1]
    said = findings(rows, 0, 100 * MIB)[1:]
    assert said == ["`b` saves most net: 7.0 MiB (7.0 % of what the oracle saves), 6.0 MiB net."]
    assert headline(rows[1]) == "6.0 MiB would be saved, net of KSM's own memory, with `b`."
    assert against_default([rows[0] | {"is_default": True}, rows[1]]) == []


def test_what_a_goal_has_chosen_is_not_chosen_again() -> None:
    rows = [row("goal", 50, 0.01), row("most", 90, 0.1)]
    said = findings(rows, 0, 100 * MIB, rows[0])
    assert not any("rule" in sentence for sentence in said)
    assert said[1].startswith("`most` saves most net, 89.0 MiB for 10.00 % of one CPU: 40.0 MiB more")


def test_the_headline_is_about_the_named() -> None:
    told = headline(row("a", 50, 0.02, time_to_90_percent_s=7.0))
    assert told == (
        "49.0 MiB would be saved, net of KSM's own memory, for 2.00 % of one CPU, nine tenths of it after 7.0 s, "
        "with `a`."
    )
    at_the_end = row("a", 50, 0.02, time_to_90_percent_s=7.0, seconds=7.0)
    assert "nine tenths" not in (headline(at_the_end) or "")
    assert headline(None) is None


def test_nothing_saved_and_nothing_to_save() -> None:
    assert findings([row("a", 0, 0.1)], 400 * MIB, 100 * MIB)[1:] == ["At the end no design saves memory."]
    before = row("a", 0, 0.1, saved_bytes_mean=3 * MIB)
    assert findings([before], 400 * MIB, 0)[1:] == [
        "At the end no design saves memory; on average over the trace `a` saved most, 3.0 MiB, for 10.00 % of one CPU."
    ]
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
