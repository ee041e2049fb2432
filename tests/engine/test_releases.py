"""Every release: engine and naive twin agree; which names mean which release; what a release has."""

import pytest

from ksmbench import designs
from ksmbench.designs.design import RELEASES as FAMILY
from ksmbench.designs.ksm.features import CHANGES, MAINLINE, UPDATES, Features, find_features, parse_release
from ksmbench.errors import UsageError
from ksmbench.replaying import replay
from tests.naive.agreement import difference
from tests.naive.directed import directed
from tests.naive.directed_rare import directed_rare
from tests.naive.releases import release_scenario
from tests.naive.work import EVERY_PRICE

RELEASES = [name for name, design in designs.DESIGNS.items() if design.family == FAMILY]
_DIRECTED = {name: (trace, settings) for name, trace, settings in [*directed(), *directed_rare()]}


def _differing(name: str, seeds: range) -> list[str]:
    found = []
    for seed in seeds:
        trace, settings = release_scenario(name, seed)
        cost = EVERY_PRICE if seed % 4 == 2 and seed % 8 == 2 else None
        wrong = difference(trace, settings, name, cost)
        if wrong:
            found.append(f"{name} seed {seed} {settings}: {wrong}")
    return found


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_equals_its_twin(name: str) -> None:
    first = 8 * RELEASES.index(name)
    assert _differing(name, range(first, first + 4)) == []


@pytest.mark.parametrize("name", ["ksm-7.3", "ksm-6.1"])
def test_numa_nodes_and_the_advisor(name: str) -> None:
    assert _differing(name, range(1001, 1041, 4)) == []
    assert _differing(name, range(1002, 1042, 8)) == []


@pytest.mark.parametrize("name", ["ksm-7.3", "ksm-6.10", "ksm-5.1", "ksm-3.9", "ksm-2.6.33"])
def test_directed_scenarios_of_old_and_new_releases(name: str) -> None:
    known = {setting.name for setting in designs.find(name).settings}
    found = []
    for what, (trace, settings) in list(_DIRECTED.items())[RELEASES.index(name) % 3 :: 3]:
        wrong = difference(trace, {k: v for k, v in settings.items() if k in known}, name)
        if wrong:
            found.append(f"{what}: {wrong}")
    assert found == []


def test_a_name_resolves_to_the_row_in_force() -> None:
    assert designs.find("ksm").settings == designs.find("ksm-7.3").settings
    for name, row in (
        ("5.4", MAINLINE[5, 1]),
        ("5.15.120", MAINLINE[5, 9]),
        ("7.2", MAINLINE[6, 19]),
        ("6.18", MAINLINE[6, 19]),
        ("6.18.1", MAINLINE[6, 18]),
        ("6.12.100", MAINLINE[6, 19]),
        ("6.12.53", MAINLINE[6, 12]),
        ("6.14", MAINLINE[6, 12]),
        ("6.6.90", UPDATES[6, 6][0][1]),
        ("2.6.35.7", MAINLINE[2, 6, 33]),
        ("2.6.39", MAINLINE[2, 6, 38]),
        ("3.8", MAINLINE[2, 6, 38]),
        ("4.8", MAINLINE[4, 5]),
    ):
        release = parse_release(name)
        assert release is not None
        assert find_features(*release) == row, name
        assert designs.find(f"ksm-{name}").name == f"ksm-{name}"
    for name in ("ksm-2.6.31", "ksm-8.0", "ksm-6", "ksm-six", "ksm-6.1.2.3", "ksm-2.6", "ksm-6.20", "ksm-7.4"):
        with pytest.raises(UsageError, match="there is no design"):
            designs.find(name)


def test_a_release_has_the_settings_and_counters_of_its_time() -> None:
    has = {name: {s.name for s in designs.find(name).settings} for name in RELEASES}
    assert has["ksm-2.6.33"] == {"run", "pages_to_scan", "sleep_millisecs"}
    assert "smart_scan" in has["ksm-6.7"] - has["ksm-6.6"]
    assert "use_zero_pages" in has["ksm-4.11"] - has["ksm-4.5"]
    assert "merge_across_nodes" in has["ksm-3.9"] - has["ksm-2.6.38"]
    assert "pages_scanned_bug" in has["ksm-6.6"] & has["ksm-6.9"]
    trace, settings = release_scenario("ksm-6.1", 0)
    result = replay(trace, "ksm-6.1", cost="none", **settings)
    for column in ("pages_scanned", "pages_skipped", "ksm_zero_pages", "general_profit"):
        assert result.samples[column].is_null().all()
    assert not result.samples["stable_node_dups"].has_nulls()
    assert result.spaces["ksm_zero_pages"].is_null().all()
    assert not result.spaces["ksm_merging_pages"].has_nulls()
    with pytest.raises(UsageError, match='no setting "smart_scan"'):
        replay(trace, "ksm-6.1", smart_scan=0)


def test_differences_are_told() -> None:
    assert set(CHANGES) == set(Features._fields)
    told = designs.differences("ksm-6.1", "ksm-6.18")
    assert told == designs.differences("ksm-6.18", "ksm-6.1")
    assert sum("6.11" in sentence for sentence in told) == 2
    assert designs.differences("ksm-6.18", "ksm-7.2") == []
    assert len(designs.differences("ksm-6.6.0", "ksm-6.6")) == 1
    with pytest.raises(UsageError, match="none of the releases"):
        designs.differences("ksm-6.1", "oracle")
