"""The command line as a whole: quick to answer, nothing heavy before it is needed, examples, completion."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from ksmbench.cli import cli
from ksmbench.commands.options import DESIGN_NAMES
from ksmbench.designs import DESIGNS
from ksmbench.designs.design import BOUNDS, OF_2009, RELEASES
from tests.commands.running import assert_one_line_mistake, run

HEAVY = ("numba", "numpy", "polars", "pyarrow", "altair", "jinja2", "vl_convert")
COMMANDS = list(cli.commands)
TRACES = Path(__file__).parents[2] / "traces"


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = f"import ksmbench, ksmbench.cli, sys; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_commands_stand_in_the_order_of_the_data() -> None:
    shown = re.findall(r"^  ([a-z]+)  ", run("--help").stdout, re.M)
    assert shown == COMMANDS
    assert [name for name in ("capture", "info", "designs", "replay", "compare") if name in shown] == [
        name for name in shown if name in ("capture", "info", "designs", "replay", "compare")
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_shows_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert re.search(rf"Example:\s+ksmbench\s+{command}\b", done.stdout)


def examples(command: str) -> list[list[str]]:
    """What the help of `command` shows on shipped traces, as words after the program's name."""
    lines = re.findall(rf"ksmbench ({command} .*traces/.*)", run(command, "--help").stdout)
    assert lines
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("command", ["info", "explain", "cut", "replay", "compare", "sweep", "tune"])
def test_the_examples_on_shipped_traces_work_as_printed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "traces").symlink_to(TRACES)
    monkeypatch.chdir(tmp_path)
    quicker = ["--until", "3", "--jobs", "1"] if command in ("sweep", "tune") else []  # whether it works, not how well
    for words in examples(command):
        done = run(*words, *quicker)
        assert done.returncode in ((0, 1) if command == "tune" else (0,)), done.stderr
        assert done.stdout


@pytest.mark.parametrize("group", [(), ("workload",)])
def test_lists_of_commands_cut_no_sentence_off(group: tuple[str, ...]) -> None:
    told = run(*group, "--help").stdout.partition("Commands:")[2]
    assert told.count(".\n") == told.count("\n  ") - told.count("\n   ")
    assert "..." not in told


def test_an_unknown_command_or_option_is_one_line() -> None:
    assert_one_line_mistake(run("repaly"))
    assert "'repaly', did you mean 'replay'?; see" in run("repaly").stderr
    assert "see `ksmbench designs --help`" in run("designs", "--diff", "ksm-6.1").stderr
    assert_one_line_mistake(run("--verbose"))


def test_designs_are_listed_with_their_settings_and_sources() -> None:
    text, document = run("designs").stdout, json.loads(run("designs", "--json").stdout)
    assert [row["name"] for row in document] == list(DESIGNS)
    for row, design in zip(document, DESIGNS.values(), strict=True):
        assert design.summary in text
        assert design.source in text
        assert {name: told["default"] for name, told in row["settings"].items()} == {
            setting.name: setting.default for setting in design.settings
        }
        for setting in design.settings:
            assert f"{setting.name}={setting.default}" in text
            assert set(setting.choices) == set(row["settings"][setting.name].get("choices", ()))
            for word in setting.choices:
                assert word in text
    families = [text.index(f"{family}\n") for family in (RELEASES, OF_2009, BOUNDS)]
    assert families == sorted(families)


def test_completion_knows_every_design() -> None:
    assert set(DESIGN_NAMES) == set(DESIGNS)
    words = {
        "_KSMBENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "ksmbench replay t --design ksm-6.18",
        "COMP_CWORD": "4",
    }
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'ksmbench'; from ksmbench.cli import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        env=words,
    )
    assert done.stdout.split() == ["plain,ksm-6.18", "plain,ksm-6.18.0"]


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        (["replay", "t", "--policy"], "ksm", ["ksmtuned", "ksmtuned-proxmox"]),
        (["replay", "t", "--set"], "pages", ["pages_to_scan="]),
        (["validate", "t", "--set"], "smart", ["smart_scan="]),
        (["compare", "t", "--design"], "ksm-6.18,sleep", ["ksm-6.18,sleep_millisecs="]),
        (["tune", "t", "--design"], "ksm-6.18,run=1,max", ["ksm-6.18,run=1,max_page_sharing="]),
        (["compare", "t", "--design"], "ksm-6.18,policy=mo", ["ksm-6.18,policy=mom"]),
        (["sweep", "t", "--vary"], "po", ["policy="]),
        (["sweep", "t", "--vary"], "policy=fixed,ku", ["policy=fixed,kubevirt"]),
    ],
)
def test_completion_of_settings_and_policies(words: list[str], incomplete: str, expected: list[str]) -> None:
    found = [item.value for item in ShellComplete(cli, {}, "ksmbench", "_KSMBENCH").get_completions(words, incomplete)]
    assert found == expected


@pytest.mark.parametrize("words", [("compare", "--design", "ksm"), ("sweep", "--vary", "run=0,1"), ("cut",)])
def test_a_place_where_nothing_can_be_made_is_refused_before_any_work(
    words: tuple[str, ...], tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksmbench.trace.store.open_trace", None)
    (tmp_path / "file").touch()
    done = run(words[0], trace, *words[1:], "-o", tmp_path / "file" / "out")
    assert_one_line_mistake(done)
    assert "choose another place" in done.stderr


@pytest.mark.parametrize(("no_color", "is_coloured"), [("", True), ("1", False)])
def test_no_color_is_heard(no_color: str, is_coloured: bool) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "ksmbench", "designs"]
    with subprocess.Popen(words, stdout=theirs, env=os.environ | {"NO_COLOR": no_color}) as shown:
        assert (b"\x1b[" in os.read(ours, 100)) == is_coloured
        shown.kill()
    os.close(ours)
    os.close(theirs)


def test_output_is_never_renamed_onto_a_device(tmp_path: Path, trace: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    done = run("replay", trace, "-o", fifo, "--force")
    assert_one_line_mistake(done)
    assert "no ordinary file" in done.stderr
    assert fifo.is_fifo()


def test_a_full_disk_and_closed_outputs_are_no_tracebacks(trace: Path) -> None:
    command = f"{sys.executable} -m ksmbench info {trace}"
    full = subprocess.run(["sh", "-c", f"{command} >/dev/full"], capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr.count("\n")) == (1, 1), full.stderr
    assert "could not be written" in full.stderr
    for closed in ("2>&-", "| head -1"):
        done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert str(trace) in done.stdout
