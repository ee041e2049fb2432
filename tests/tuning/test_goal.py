"""Goals: what misses them, and which of several is best."""

import pytest

from ksmbench.commands.options import parse_seconds, parse_share
from ksmbench.errors import UsageError
from ksmbench.tuning.goal import Goal, Row

MIB = 1 << 20


def _row(saved_mib: float, cpu: float, reached_s: float | None = 10.0, changes: int = 1) -> Row:
    return {
        "saved_bytes_net": round(saved_mib * MIB),
        "oracle_saved_bytes": 100 * MIB,
        "scan_cost_cpu_share": cpu,
        "reached_s": reached_s,
        "changes": changes,
        "seconds": 100.0,
    }


def test_no_goal_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="--max-cpu"):
        Goal()


def test_under_a_cpu_limit_most_is_saved_and_of_about_equal_ones_the_cheapest_is_best() -> None:
    dear, most, equal, little = _row(95, 0.2), _row(90, 0.09), _row(89.9, 0.05), _row(40, 0.01)
    assert Goal(max_cpu=0.1).ranked([dear, little, most, equal]) == [equal, most, little, dear]


def test_of_about_as_cheap_ones_the_fewest_changes_are_best() -> None:
    many, few = _row(90, 0.0500, changes=4), _row(90, 0.0505, changes=2)
    assert Goal(max_cpu=0.1).ranked([many, few]) == [few, many]


def test_with_a_saving_to_reach_the_cheapest_is_best() -> None:
    rows = [_row(95, 0.2), _row(82, 0.05), _row(79, 0.01)]
    assert Goal(min_share=0.8).ranked(rows) == [rows[1], rows[0], rows[2]]
    assert Goal(min_saving=85 * MIB).ranked(rows)[0] == rows[0]


def test_what_is_missed_is_said_and_the_nearest_comes_first() -> None:
    goal = Goal(max_cpu=0.01, min_share=0.9, within=5.0)
    near, far, never = _row(89, 0.012, 6.0), _row(10, 0.1, 90.0), _row(0, 0.0, None)
    assert goal.ranked([far, never, near])[0] == near
    assert goal.misses(near) == ["takes 1.20 % of one CPU", "saves 89.0 MiB net", "is there after 6.0 s"]
    assert goal.misses(never)[-1] == "is not there when the trace ends, after 100.0 s"
    assert Goal(max_cpu=0.5).misses(never) == ["saves nothing net"]
    assert Goal(min_saving=200 * MIB).misses(near) == ["saves 89.0 MiB net, and even the oracle 100.0"]
    assert Goal(min_share=0.5).misses(never | {"oracle_saved_bytes": 0}) == ["saves nothing net"]
    assert str(goal) == "at most 1 % of one CPU, at least 90 % of what the oracle saves, net, within 5 s"


@pytest.mark.parametrize(("text", "seconds"), [("300s", 300.0), ("5m", 300.0), ("1h", 3600.0), ("2.5", 2.5)])
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


def test_shares() -> None:
    assert parse_share("10%") == parse_share("10") == 0.1
    for text in ("0%", "101%", "much", "", "nan%"):
        with pytest.raises(UsageError, match="per cent"):
            parse_share(text)
    for text in ("-1s", "5d", "soon", "nan"):
        with pytest.raises(UsageError, match="seconds"):
            parse_seconds(text)
