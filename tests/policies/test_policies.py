"""Policies: closed cases, decisions and replays against plain Python, and what does not fit together."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import ksmbench
from ksmbench.errors import UsageError
from ksmbench.policies import POLICIES, Policy, Seen, find_policy
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from tests.policies.naive import GIB, Host, decide
from tests.report.synthetic import synthetic_trace

ACTING = [name for name, policy in POLICIES.items() if policy.period_s]


@pytest.fixture(scope="module")
def trace() -> Trace:
    """Three machines of 400 pages over 200 s; of 1,200 pages that are mapped about 800 would be left."""
    return synthetic_trace(3, 400, 200)


def _seen(policy: str, memory: int, used: int, committed: int, settings: dict[str, int]) -> Seen:
    return Seen(0.0, memory, used, committed, settings)


def _run(policy: str, memory: int, used: int, times: int) -> list[dict[str, int]]:
    # What it stores each time, where its stores are in force the next time and memory stays as it is.
    chosen, settings, stored = POLICIES[policy].start(), {"run": 1, "pages_to_scan": 100, "sleep_millisecs": 20}, []
    for _ in range(times):
        stored.append(chosen(_seen(policy, memory, used, used, settings)))
        settings = settings | stored[-1]
    return stored


def test_ksmtuned_boosts_while_memory_is_short_up_to_its_most() -> None:
    stored = _run("ksmtuned", 16 * GIB, 15 * GIB, 6)
    assert [one["pages_to_scan"] for one in stored] == [300, 600, 900, 1200, 1250, 1250]
    assert all(one["run"] == 1 and one["sleep_millisecs"] == 10 for one in stored)


def test_ksmtuned_decays_to_its_least_where_memory_is_just_enough() -> None:
    chosen = POLICIES["ksmtuned"].start()
    tight, at_ease = (
        _seen("ksmtuned", 16 * GIB, used, 15 * GIB, {"run": 1, "pages_to_scan": 0}) for used in (15 * GIB, 8 * GIB)
    )
    for _ in range(5):
        chosen(tight)
    pages = [chosen(at_ease)["pages_to_scan"] for _ in range(26)]
    assert pages == [max(64, 1250 - 50 * (i + 1)) for i in range(26)]
    assert pages[-1] == 64


def test_ksmtuned_stops_ksmd_where_what_is_committed_leaves_enough() -> None:
    assert _run("ksmtuned", 16 * GIB, 8 * GIB, 2) == [{"run": 0}, {"run": 0}]


@pytest.mark.parametrize(("gib", "sleep", "proxmox"), [(1, 160, 1600), (8, 20, 200), (16, 10, 100), (256, 10, 10)])
def test_ksmtuned_sleeps_longer_on_smaller_hosts(gib: int, sleep: int, proxmox: int) -> None:
    for policy, expected in (("ksmtuned", sleep), ("ksmtuned-proxmox", proxmox)):
        assert _run(policy, gib * GIB, gib * GIB, 1)[0]["sleep_millisecs"] == expected


def test_the_threshold_is_a_fifth_of_any_real_host() -> None:
    # KSM_THRES_CONST=2048 is compared with KiB: with 1 GiB of 4 free, and 0.8 wanted, there is no pressure.
    for policy in ("ksmtuned", "ksmtuned-proxmox"):
        assert _run(policy, 4 * GIB, 3 * GIB, 1) == [{"run": 0}]


def test_proxmox_stops_once_enough_is_saved_and_ksmtuned_goes_on() -> None:
    # 16 GiB hold guests of 20 GiB in 10 GiB of frames.
    saved = _seen("", 16 * GIB, 10 * GIB, 20 * GIB, {"run": 1, "pages_to_scan": 100, "sleep_millisecs": 20})
    assert POLICIES["ksmtuned-proxmox"].start()(saved) == {"run": 0}
    assert POLICIES["ksmtuned"].start()(saved) == {"pages_to_scan": 64, "sleep_millisecs": 10, "run": 1}


def test_kubevirt_stops_below_its_least_and_starts_at_its_first() -> None:
    stored = _run("kubevirt", 16 * GIB, GIB, 3)
    assert stored == [{"run": 0}] * 3  # 100 - 50 is less than 64
    chosen = POLICIES["kubevirt"].start()
    started = chosen(_seen("kubevirt", 16 * GIB, 16 * GIB, 0, {"run": 0, "pages_to_scan": 700}))
    assert started == {"sleep_millisecs": 100, "pages_to_scan": 100, "run": 1}


def test_mom_goes_on_from_what_is_in_force_and_stores_what_changes() -> None:
    stored = _run("mom", 16 * GIB, 15 * GIB, 7)
    assert stored[:2] == [{}, {"pages_to_scan": 400, "sleep_millisecs": 10}]
    assert [one.get("pages_to_scan") for one in stored] == [None, 400, 700, 1000, 1250, None, None]
    assert _run("mom", 4 * GIB, 4 * GIB, 2)[1]["sleep_millisecs"] == 40
    assert _run("mom", 256 * GIB, 256 * GIB, 2)[1]["sleep_millisecs"] == 10


def test_mom_decides_by_the_mean_of_ten_looks() -> None:
    chosen = POLICIES["mom"].start()
    settings = {"run": 1, "pages_to_scan": 500, "sleep_millisecs": 10}
    full, empty = (_seen("mom", 16 * GIB, used, 16 * GIB, settings) for used in (16 * GIB, 7 * GIB))
    # 3.2 GiB should be free: with 9 free in three of ten looks it is 2.7 on average, in four 3.6.
    stored = [chosen(look) for look in 10 * [full] + 5 * [empty]]
    assert [one["pages_to_scan"] for one in stored[10:]] == [800, 800, 800, 450, 450]


@pytest.mark.parametrize("policy", ACTING)
@pytest.mark.parametrize("memory_pages", [10**9, 1000, 950, 700])
def test_a_replay_is_one_with_the_naive_decisions_as_tunes(trace: Trace, policy: str, memory_pages: int) -> None:
    """Each decision is the plain one, and the replay is that of a trace which has the stores as events."""
    memory = memory_pages * trace.page_size
    result = ksmbench.replay(trace, policy=policy, host_memory=memory, pages_to_scan=20, sample=0.5, check=True)
    chosen = POLICIES[policy]
    first = 0 if chosen.acts_at_start else round(chosen.period_s * 1e9)
    times = list(range(first, 200 * 10**9 + 1, round(chosen.period_s * 1e9)))

    host = Host(memory, 0, 0, {"run": 1, "pages_to_scan": 20, "sleep_millisecs": 20})
    rows: list[tuple[int, str, int]] = []
    for time in times:
        # The state at that moment, of a replay that ends there: its events belong to it, a batch of that time too.
        before = ksmbench.replay(_with_tunes(trace, rows), until=max(time - 1, 0) / 1e9, pages_to_scan=20, sample="end")
        host.used, host.committed = _memory_at(trace, before, time, rows)
        wanted = decide(policy, host)
        host.settings |= wanted
        rows += [(time, name, value) for name, value in wanted.items()]
    assert result.stores == rows
    again = ksmbench.replay(_with_tunes(trace, rows), pages_to_scan=20, sample=0.5)
    assert_frame_equal(result.samples.select(again.samples.columns), again.samples)
    last = dict(zip(("run", "pages_to_scan", "sleep_millisecs"), result.samples.row(-1)[-3:], strict=True))
    assert last == host.settings


def _memory_at(trace: Trace, before: object, time: int, rows: list[tuple[int, str, int]]) -> tuple[int, int]:
    # Bytes in use and committed after the events of `time` and before a batch of that time: run=0 is stored first.
    still = _with_tunes(trace, [*rows, (time, "run", 0)])
    last = ksmbench.replay(still, until=time / 1e9, pages_to_scan=20, sample="end").samples.row(-1, named=True)
    return last["frames"] * trace.page_size, last["pages_anon"] * trace.page_size


def _with_tunes(trace: Trace, rows: list[tuple[int, str, int]]) -> Trace:
    events, names = trace.events, ("run", "pages_to_scan", "sleep_millisecs")
    for time, name, value in rows:
        at = int(np.searchsorted(events.time_ns, time, side="right"))
        row = (time, Kind.TUNE, 0, 0, 0, value, 0, names.index(name))
        events = type(events)(*(np.insert(column, at, it) for column, it in zip(events, row, strict=True)))
    return replace(trace, events=events, names=names)


@pytest.mark.parametrize("design", ["ksm-6.1", "ksm-2.6.32", "devksm-2009", "madvise-rfc-2009", "ksm-rollup-2009"])
def test_every_design_that_scans_can_be_turned(trace: Trace, design: str) -> None:
    result = ksmbench.replay(trace, design, policy="ksmtuned", host_memory=1000 * trace.page_size, until=130.0)
    assert result.options["policy"] == "ksmtuned"
    assert result.options["refused_stores"] == 0
    assert result.samples["pages_to_scan"].unique().sort().to_list() == [100, 300, 600]


def test_the_advisor_is_the_kernels_own(trace: Trace) -> None:
    by_policy = ksmbench.replay(trace, policy="advisor")
    by_setting = ksmbench.replay(trace, advisor_mode=1)
    assert by_policy.settings == by_setting.settings
    assert_frame_equal(by_policy.samples.select(by_setting.samples.columns), by_setting.samples)
    assert by_policy.samples["pages_to_scan"][0] == 500
    with pytest.raises(UsageError, match='design "ksm-6.1" has no setting "advisor_mode", which policy "advisor"'):
        ksmbench.replay(trace, "ksm-6.1", policy="advisor")


def test_fixed_is_the_default_and_adds_nothing(trace: Trace) -> None:
    plain, fixed = ksmbench.replay(trace, until=20.0), ksmbench.replay(trace, policy="fixed", until=20.0)
    assert_frame_equal(plain.samples, fixed.samples)
    assert plain.options == fixed.options
    assert "run" not in plain.samples.columns


def test_recorded_changes_of_what_a_policy_turns_are_left_out(trace: Trace) -> None:
    recorded = _with_tunes(trace, [(10 * 10**9, "pages_to_scan", 7)])
    policed = ksmbench.replay(recorded, policy="ksmtuned", host_memory=1000 * trace.page_size, until=100.0)
    assert policed.samples["pages_to_scan"].unique().sort().to_list() == [100, 300]


def test_a_policy_of_ones_own_sees_the_host_and_is_asked_each_period(trace: Trace) -> None:
    asked: list[Seen] = []

    def decide_nothing(seen: Seen) -> dict[str, int]:
        asked.append(seen)
        return {}

    own = Policy("own", "looks", "a test", ("pages_to_scan",), period_s=50.0, start=lambda: decide_nothing)
    result = ksmbench.replay(trace, policy=own, host_memory=GIB)
    assert [seen.seconds for seen in asked] == [50.0 * i for i in range(1, 5)]
    assert all(seen.host_memory == GIB and 0 < seen.used < seen.committed for seen in asked)
    assert_frame_equal(result.samples.drop("run", "pages_to_scan", "sleep_millisecs"), ksmbench.replay(trace).samples)


def test_what_does_not_fit_is_said(trace: Trace) -> None:
    with pytest.raises(UsageError, match='no policy "ksmtune"; did you mean "ksmtuned"'):
        find_policy("ksmtune")
    with pytest.raises(UsageError, match="--host-memory"):
        ksmbench.replay(trace, policy="ksmtuned")
    with pytest.raises(UsageError, match="above 0"):
        ksmbench.replay(trace, policy="ksmtuned", host_memory=0)
    with pytest.raises(UsageError, match="while the advisor does"):
        ksmbench.replay(trace, policy="mom", host_memory=GIB, advisor_mode=1)
    with pytest.raises(UsageError, match="sets advisor_mode"):
        ksmbench.replay(trace, policy="advisor", advisor_mode=0)
    with pytest.raises(UsageError, match='design "none" has no setting "run"'):
        ksmbench.replay(trace, "none", policy="mom", host_memory=GIB)


def test_policies_side_by_side(trace: Trace) -> None:
    found = ksmbench.compare(
        [trace], ["none", "ksm-6.18"], policy=["fixed", "mom"], host_memory=1000 * 4096, until=30.0
    )
    assert found.summary.select("design", "settings").rows() == [
        ("none", ""),
        ("ksm-6.18", ""),
        ("ksm-6.18", "policy=mom"),
    ]
    named = ksmbench.compare([trace], ["ksm-6.18,policy=mom"], host_memory=1000 * 4096, until=30.0)
    assert_frame_equal(named.summary, found.summary[2:], check_row_order=False)


def test_a_sweep_varies_policies(trace: Trace) -> None:
    found = ksmbench.sweep(
        [trace],
        vary={"policy": ["fixed", "mom"], "sleep_millisecs": [20, 50]},
        host_memory=1000 * 4096,
        until=30.0,
        jobs=1,
    )
    assert found.summary.select("settings", "policy").rows() == [
        ("sleep_millisecs=20", "fixed"),
        ("sleep_millisecs=50", "fixed"),
        ("sleep_millisecs=20,policy=mom", "mom"),
        ("sleep_millisecs=50,policy=mom", "mom"),
    ]
    alone = ksmbench.replay(trace, policy="mom", host_memory=1000 * 4096, until=30.0, sleep_millisecs=50)
    of_sweep = found.samples.filter(pl.col("settings") == "sleep_millisecs=50,policy=mom")
    assert_frame_equal(of_sweep.drop("trace", "design", "settings"), alone.samples, check_column_order=False)
