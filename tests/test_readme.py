"""What the README shows is what happens: its commands, its Python, and the output of `make demo`."""

import re
import shlex
from pathlib import Path

import pytest

from ksmbench.cli import cli
from tests.commands.running import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.S | re.M)
SHELL = [line for language, block in BLOCKS if not language for line in block.splitlines()]
COMMANDS = [line.removeprefix("$ ") for line in SHELL if line.removeprefix("$ ").startswith("ksmbench ")]
DEMO = next(block for _, block in BLOCKS if block.startswith("$ ksmbench compare"))


@pytest.fixture
def folder_with_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the shipped traces, where files may be written."""
    (tmp_path / "traces").symlink_to(ROOT / "traces")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    cli.commands[name].make_context(name, arguments)


def test_the_demo_prints_what_the_readme_shows(folder_with_traces: Path) -> None:
    command, _, shown = DEMO.partition("\n")
    done = run(*shlex.split(command)[2:])
    # After a change of the model or of the default cost profile: `python -m tests.test_readme`, and read the diff.
    assert [line.rstrip() for line in done.stdout.splitlines()] == shown.splitlines()
    assert (folder_with_traces / "reports" / "demo" / "report.html").exists()


def test_make_demo_runs_that_command() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n\t\t", "")
    for name, value in re.findall(r"^(\w+) :?= (.*)$", makefile, re.M):
        makefile = makefile.replace(f"$({name})", value)
    assert DEMO.partition("\n")[0].removeprefix("$ ") in makefile


def test_python_examples_run(folder_with_traces: Path) -> None:
    names: dict[str, object] = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(block, names)
    assert names["result"].summary["saved_bytes"] > 0
    assert names["comparison"].summary.height == 2


def show_the_demo_as_it_is() -> None:
    """Write what the demo prints now into the README."""
    command = DEMO.partition("\n")[0]
    printed = [line.rstrip() for line in run(*shlex.split(command)[2:]).stdout.splitlines()]
    (ROOT / "README.md").write_text(README.replace(DEMO, "\n".join([command, *printed, ""])))


if __name__ == "__main__":
    show_the_demo_as_it_is()
