"""What the README and its further pages show is what happens: commands, links, Python, the output of `make demo`."""

import re
import shlex
from pathlib import Path

import click
import pytest

from ksmbench.cli import cli
from tests.commands.running import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.S | re.M)
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "traces/*.md", "workloads/*.md", "workloads/*/*.md")
    for page in ROOT.glob(pattern)
)
# Between fences, or indented by four.
SHOWN = re.compile(rf"^(?:    )?(?:\$ )?(ksmbench (?:{'|'.join(cli.commands)})[^`|\n]*)$", re.M)
COMMANDS = sorted({line for page in PAGES for line in SHOWN.findall(page.read_text())})
DEMO = next(block for _, block in BLOCKS if block.startswith("$ ksmbench compare"))


@pytest.fixture
def folder_with_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the shipped traces, where files may be written."""
    (tmp_path / "traces").symlink_to(ROOT / "traces")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str) -> None:
    _, name, *words = shlex.split(line, comments=True)
    command: click.Command = cli.commands[name]
    while isinstance(command, click.Group):
        name, *words = words
        command = command.commands[name]
    command.make_context(name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, part in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        if part:
            heads = re.findall(r"^#+ (.*)$", there.read_text(), re.M)
            assert part in {head.lower().replace(" ", "-") for head in heads}, f"{target}#{part}"


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
