"""Settings with words: how they are given, shown and handed to the engine."""

import json
from typing import Any

import polars as pl
import pytest

from ksmbench import designs
from ksmbench.commands.options import parse_settings
from ksmbench.comparing import compare
from ksmbench.designs import complete_settings, encoded
from ksmbench.designs.design import OF_2009, Design, Setting
from ksmbench.designs.none import DESIGN as NONE
from ksmbench.engine.counters import REVIEW_COUNTERS, SAMPLED, WORK_COUNTERS
from ksmbench.errors import UsageError
from ksmbench.replaying import replay
from ksmbench.specs import parse_design
from tests.report.synthetic import synthetic_trace

CALLBACKS = ("fork", "exit", "mremap", "munmap")
seen: list[dict[str, int]] = []


def _run(trace: Any, plan: Any, settings: dict[str, int], timing: Any, **more: Any) -> Any:
    seen.append(settings)
    return NONE.run(trace, plan, {}, timing, **more)


MADE_UP = Design(
    name="made-up",
    summary="merges nothing",
    source="this test",
    family=OF_2009,
    settings=(
        Setting("pages_to_scan", 100, 0, 5000, "pages of a batch"),
        Setting("sleep_millisecs", 20, 0, 5000, "ms of sleep"),
        Setting("sleep", 0, 0, 5000, "us of sleep, 0: sleep_millisecs"),
        Setting.of_words("callbacks", "none", CALLBACKS, "where the design is told", many=True),
        Setting.of_words("list_by", "mm", ("mm", "vma"), "what is on the list"),
    ),
    counters=("frames", "cpu_ns", "steps_dead", "lost_ptes"),
    run=_run,
)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """`made-up` among the designs."""
    monkeypatch.setitem(designs.DESIGNS, "made-up", MADE_UP)
    seen.clear()


@pytest.mark.parametrize(
    ("given", "shown", "code"),
    [
        ("", "none", 0),
        ("none", "none", 0),
        ([], "none", 0),
        ("fork", "fork", 1),
        ("munmap, exit", "exit,munmap", 10),
        (("exit", "fork", "exit"), "fork,exit", 3),
        ("all", "fork,exit,mremap,munmap", 15),
    ],
)
def test_a_set_of_words_has_one_spelling_and_a_bit_for_each(given: Any, shown: str, code: int) -> None:
    complete = complete_settings(MADE_UP, {"callbacks": given})
    assert complete["callbacks"] == shown
    assert complete_settings(MADE_UP, complete) == complete
    assert encoded(MADE_UP, complete)["callbacks"] == code


def test_defaults_are_words_and_codes_are_places() -> None:
    complete = complete_settings(MADE_UP, {})
    assert complete == {
        "pages_to_scan": 100,
        "sleep_millisecs": 20,
        "sleep": 0,
        "callbacks": "none",
        "list_by": "mm",
    }
    assert encoded(MADE_UP, complete) == complete | {"callbacks": 0, "list_by": 0}
    assert encoded(MADE_UP, complete | {"list_by": "vma"})["list_by"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"callbacks": "fork,exec"}, "callbacks=fork,exec: must be words of fork, exit, mremap, munmap"),
        ({"callbacks": "fork,all"}, "must be words of"),
        ({"callbacks": 3}, "must be words of"),
        ({"callbacks": [1]}, "must be words of"),
        ({"list_by": "page"}, "list_by=page: must be one of mm, vma"),
        ({"list_by": 1}, "must be one of mm, vma"),
        ({"pages_to_scan": "many"}, "must be an integer from 0 to 5000"),
        ({"callback": "fork"}, 'did you mean "callbacks"'),
    ],
)
def test_a_wrong_word_is_one_sentence_with_the_words(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        complete_settings(MADE_UP, given)
    assert "\n" not in str(caught.value)


def test_words_on_the_command_line() -> None:
    assert parse_settings(("callbacks=fork,exit", "pages_to_scan=7"), MADE_UP.worded) == {
        "callbacks": "fork,exit",
        "pages_to_scan": 7,
    }
    spec = parse_design("made-up,callbacks=exit, fork,pages_to_scan=1000,list_by=vma")
    assert str(spec) == "made-up,callbacks=fork,exit,pages_to_scan=1000,list_by=vma"
    assert parse_design(str(spec)) == spec
    assert str(parse_design("made-up,callbacks=")) == "made-up,callbacks=none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("made-up,pages_to_scan=100,exit", '"exit" is not NAME=VALUE.*pages_to_scan takes one value'),
        ("made-up,list_by=mm,vma", '"vma" is not NAME=VALUE.*list_by takes one value'),
        ("made-up,fork", '"fork" is not NAME=VALUE'),
        ("made-up,callbacks=fork,page", "must be words of"),
        ("made-up,callbacks=fork,,exit", "is not NAME=VALUE"),
        ("made-up,callbacks=fork,callbacks=exit", "set twice"),
    ],
)
def test_a_wrong_design_with_words_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_design(text)
    assert "\n" not in str(caught.value)


def test_the_engine_sees_codes_and_results_show_words() -> None:
    result = replay(synthetic_trace(2, 50, 2), "made-up", callbacks="exit", list_by="vma")
    assert result.settings["callbacks"] == "exit"
    assert seen[0] == {"pages_to_scan": 100, "sleep_millisecs": 20, "sleep": 0, "callbacks": 2, "list_by": 1}
    assert json.loads(json.dumps(result.settings)) == result.settings


def test_a_sleep_in_microseconds_bounds_the_number_of_batches() -> None:
    with pytest.raises(UsageError, match="200,000,000 batches to sample"):
        replay(synthetic_trace(2, 50, 2), "made-up", sample="batch", cost="none", sleep=1, until=200.0)


def test_samples_have_the_columns_that_the_design_has() -> None:
    trace = synthetic_trace(2, 50, 2)
    assert replay(trace, "made-up").samples.columns == ["time_ns", *SAMPLED, "lost_ptes", "steps_dead"]
    work = [name for name in WORK_COUNTERS if name != "empty_addresses"]  # a release has one walk or the other
    assert replay(trace, "ksm-6.18").samples.columns == ["time_ns", *SAMPLED, *work]
    both = compare(trace, ["ksm-6.18", "made-up,callbacks=fork,exit"]).samples
    more = ["lost_ptes", "steps_dead", *work]
    assert both.columns == ["trace", "design", "settings", "time_ns", *SAMPLED, *more]
    assert both.filter(design="ksm-6.18")["lost_ptes"].null_count() == len(both) / 2
    assert both.filter(settings="callbacks=fork,exit")["lost_ptes"].null_count() == 0
    assert set(REVIEW_COUNTERS) >= {"lost_ptes", "steps_dead"}
    assert both.schema["lost_ptes"] == pl.Int64
