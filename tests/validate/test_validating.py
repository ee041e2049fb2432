"""What differs is found, told, shortened and saved; what agrees is counted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ksmbench import designs
from ksmbench.errors import TraceError, UsageError
from ksmbench.trace.columns import Contents
from ksmbench.trace.schema import Advice, Kind
from ksmbench.trace.store import open_trace
from ksmbench.validate.generate import MIN_BATCHES, generate
from ksmbench.validate.making import make_contents, make_trace
from ksmbench.validate.script import UnplayableError, check_contents, check_playable
from ksmbench.validate.shrink import shrink
from ksmbench.validate.validating import Validation, from_trace
from tests.validate.fake import engine_as_kernel

KNOWN = [setting.name for setting in designs.find(designs.DEFAULT).settings]


def test_what_agrees_is_counted() -> None:
    said: list[pl.DataFrame] = []
    validation = Validation(engine_as_kernel(), designs.DEFAULT, keep=said.append)
    for seed in range(3):
        validation.add(generate(seed, KNOWN))
    verdict = validation.verdict
    assert verdict.agrees
    assert verdict.traces == 3
    assert verdict.batches >= 3 * MIN_BATCHES
    assert verdict.tallies["pages_shared"].batches == verdict.batches
    assert verdict.as_dict()["agrees"]
    both = pl.concat(said)
    assert both["source"].unique().sort().to_list() == ["engine", "kernel"]
    assert both.filter(pl.col("space").is_null(), source="engine").height == verdict.batches


def test_what_differs_is_shortened_and_saved(tmp_path: Path) -> None:
    scenario = generate(5, KNOWN)
    wrong = 1 - scenario.settings["use_zero_pages"]
    validation = Validation(engine_as_kernel(use_zero_pages=wrong), designs.DEFAULT, save=tmp_path)
    validation.add(scenario)
    (difference,) = validation.verdict.differences
    assert not validation.verdict.agrees
    assert "batch " in difference.first
    assert difference.saved is not None
    again = from_trace(open_trace(difference.saved), {})
    assert {name: again.settings[name] for name in scenario.settings} == scenario.settings
    assert len(again.trace.events.kind) <= 6
    repeated = Validation(engine_as_kernel(use_zero_pages=wrong), designs.DEFAULT)
    repeated.add(again)
    assert repeated.verdict.differences


def test_the_shortest_list_of_events() -> None:
    """Of hundred writes two are needed, in different spaces; the spaces and times that are not needed go too."""
    rows = [(0, Kind.MAP, space, 16, 100, 0) for space in range(4)]
    rows += [(k, Kind.WRITE, k % 4, 16 + k, 1, 1) for k in range(100)]
    trace = make_trace(rows, make_contents(np.random.default_rng(0), 3))

    def differs(tried: "object") -> int | None:
        events = tried.events  # type: ignore[attr-defined]
        writes = events.kind == Kind.WRITE
        needed = [30 + 16, 43 + 16]
        return 43 if all((writes & (events.page == page)).any() for page in needed) else None

    short = shrink(trace, differs)
    assert [Kind(kind) for kind in short.events.kind] == [Kind.WRITE, Kind.WRITE, Kind.MARK]
    assert short.events.space.tolist() == [0, 1, 0]
    assert len(short.spaces) == 2
    assert int(short.events.time_ns[-1]) == 43


def test_a_shortened_trace_has_been_seen_to_differ_and_has_events() -> None:
    """A difference that moves to before the first event once the trace is shorter, and then is gone."""
    rows = [(100 + k, Kind.WRITE, 0, 16 + k, 1, 1) for k in range(40)]
    trace = make_trace(rows, make_contents(np.random.default_rng(0), 3))
    differed = []

    def differs(tried: "object") -> int | None:
        n_writes = int((tried.events.kind == Kind.WRITE).sum())  # type: ignore[attr-defined]
        if n_writes in range(1, 11):
            return None
        differed.append(n_writes)
        return 139 if n_writes > 20 else 5

    short = shrink(trace, differs)
    n_writes = int((short.events.kind == Kind.WRITE).sum())
    assert n_writes
    assert n_writes in differed


def test_scenarios_are_those_of_their_seed() -> None:
    one, same, other = generate(7, KNOWN), generate(7, KNOWN), generate(8, KNOWN)
    assert one.settings == same.settings
    assert all(np.array_equal(a, b) for a, b in zip(one.trace.events, same.trace.events, strict=True))
    assert len(one.trace.events.kind) != len(other.trace.events.kind)


def test_scenarios_have_every_verb_that_can_be_played() -> None:
    kinds, spaces = set(), set()
    for seed in range(60):
        trace = generate(seed, KNOWN).trace
        check_playable(trace)
        kinds |= set(trace.events.kind.tolist())
        spaces.add(len(trace.spaces))
    assert {Kind(kind) for kind in kinds} == set(Kind) - {Kind.SHARE, Kind.SWAPOUT}
    assert max(spaces) == 8


def test_what_cannot_be_played_is_named() -> None:
    rows = [(0, Kind.MAP, 0, 16, 4, 0), (0, Kind.SWAPOUT, 0, 16, 1, 0)]
    trace = make_trace(rows, make_contents(np.random.default_rng(0), 3))
    with pytest.raises(UnplayableError, match="row 1: swapout"):
        check_playable(trace)


def test_contents_that_no_bytes_can_have() -> None:
    siblings = np.zeros(257, np.uint16)
    labels = np.arange(257, dtype=np.uint32)
    check_contents(Contents(siblings[:256], labels[:256]))
    with pytest.raises(TraceError, match="row 256: over 255"):
        check_contents(Contents(siblings, labels))
    with pytest.raises(TraceError, match="one checksum"):
        check_contents(Contents(siblings[:3], np.array([0, 1, 1], np.uint32)))


@pytest.mark.parametrize(
    "settings", [{"stable_node_chains_prune_millisecs": 2000}, {"advisor_mode": 1}], ids=lambda s: next(iter(s))
)
def test_what_goes_by_the_clock_cannot_be_compared(settings: dict[str, int]) -> None:
    rows = [(0, Kind.MAP, 0, 16, 4, 0), (0, Kind.MADVISE, 0, 16, 4, Advice.MERGEABLE)]
    trace = make_trace(rows, make_contents(np.random.default_rng(0), 3))
    with pytest.raises(UsageError, match="goes by"):
        from_trace(trace, settings)
    tuned = replace(trace, events=trace.events._replace(kind=np.full(2, Kind.TUNE, np.uint8)), names=("advisor_mode",))
    ones = tuned.events._replace(value=np.ones(2, np.int64), name=np.zeros(2, np.int32))
    with pytest.raises(UsageError, match="advisor_mode"):
        from_trace(replace(tuned, events=ones), {})
