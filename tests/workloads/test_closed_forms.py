"""The engine, and the running kernel, give what the closed forms of `workloads/closed_forms` say."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from ksmbench.validate.agreement import replay_batches
from ksmbench.validate.script import check_playable
from ksmbench.validate.sysfs import KsmSession
from tests.kernel.needs import needs_kernel
from workloads.closed_forms.__main__ import main
from workloads.closed_forms.checking import check, engine_samples, kernel_samples
from workloads.closed_forms.forms import FORMS
from workloads.closed_forms.ltp import processed

# One of each family that one NUMA node can play.
ON_THE_KERNEL: tuple[tuple[str, dict[str, int]], ...] = (
    ("ksm01", {"pages": 64}),
    ("ksm06", {"pages": 16, "nodes": 1}),
    ("ksm07", {"pages": 48, "passes": 33}),
    ("max-page-sharing", {"pages": 17, "maximum": 8, "spaces": 1}),
    ("max-page-sharing", {"pages": 258, "maximum": 256, "spaces": 2}),
    ("zero-pages", {}),
    ("zero-pages-as-others", {}),
    ("zero-pages-fork", {}),
    ("unmerge-madvise", {}),
    ("unmerge-run", {}),
    ("unmerge-prctl", {}),
    ("prctl-fork-exec", {}),
    ("fork-of-frames", {}),
)


@pytest.mark.parametrize("name", FORMS)
def test_the_engine_gives_the_closed_form(name: str) -> None:
    form = FORMS[name]
    for parameters in form.span:
        case = form.tell(**parameters)
        checked = check(case, engine_samples(case))
        assert checked.differences == (), parameters
        assert checked.values == sum(len(station.counters) for station in case.stations)


@pytest.mark.parametrize(
    ("name", "design"),
    [(name, design) for name in ("ksm01", "ksm06", "max-page-sharing", "unmerge-run") for design in ("6.1", "7.3")]
    + [("ksm07", "7.3"), ("prctl-fork-exec", "7.3"), ("zero-pages", "6.12")],
)
def test_other_releases_give_it_where_they_decide_the_same(name: str, design: str) -> None:
    for parameters in FORMS[name].span[::5]:
        case = FORMS[name].tell(**parameters)
        assert check(case, engine_samples(case, f"ksm-{design}")).differences == (), parameters


@needs_kernel
def test_the_running_kernel_gives_the_closed_form() -> None:
    with KsmSession() as session:
        samples_of = kernel_samples(session)
        for name, parameters in ON_THE_KERNEL:
            case = FORMS[name].tell(**parameters)
            samples = samples_of(case)
            assert samples is not None
            checked = check(case, samples)
            assert checked.differences == (), (name, parameters)
            assert checked.values > 0


def test_a_wrong_formula_is_seen() -> None:
    case = FORMS["ksm01"].tell(pages=8)
    other = engine_samples(FORMS["ksm01"].tell(pages=9))
    assert any("pages_sharing is 25, by the formula 22" in said for said in check(case, other).differences)


def test_nothing_is_refused_and_every_case_can_be_played() -> None:
    for form in FORMS.values():
        case = form.tell()
        check_playable(case.trace)
        assert replay_batches(case.trace, "ksm-6.18", {}).refused_tunes == 0


def test_over_half_of_the_visits_are_skips_from_the_15th_pass_on() -> None:
    """The schedule of smart scan, written out, and what ksm07 concludes from it."""
    schedule = [1, 2, 3, 4, 6, 9, 14, 23, 32, 41, 50, 59]
    assert [k for k in range(1, 60) if processed(k) > processed(k - 1)] == schedule
    assert all(k - processed(k) > k / 2 for k in range(15, 1000))
    assert 14 - processed(14) == 7


def test_a_trace_and_what_the_formula_says_of_it(tmp_path: Path) -> None:
    target = tmp_path / "shared"
    words = ["run", "max-page-sharing", "--set", "pages=9", "--set", "maximum=4", "--set", "spaces=1"]
    said = CliRunner().invoke(main, [*words, "-o", str(target)], catch_exceptions=False)
    assert said.exit_code == 0
    assert "pages_shared 2, pages_sharing 6, pages_unshared 1" in said.output
    trace: Trace = open_trace(target)
    assert trace.manifest["label"] == "9 equal pages, 4 per KSM frame"
    assert (trace.events.kind == Kind.TUNE).sum() == 4
    last = replay_batches(trace, "ksm-6.18", {}).samples.row(-1, named=True)
    assert (last["pages_shared"], last["pages_sharing"], last["pages_unshared"]) == (2, 6, 1)


def test_the_list_has_every_scenario() -> None:
    said = CliRunner().invoke(main, ["list"], catch_exceptions=False).output
    assert [line.split()[0] for line in said.splitlines()] == list(FORMS)
