"""What the documents and docstrings point to is there: files, headings, modules, commands of make."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MADE = {"reports/demo/report.html"}  # by `make demo`
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
PLACE = re.compile(r"`((?:docs|workloads|traces|reports|tests|benchmarks|ksmbench)/[\w./-]+)`")
MODULE = re.compile(r"python -m ([\w.]+)")
TARGET = re.compile(r"`make ([\w-]+)`")
DOTTED = re.compile(r"`((?:ksmbench|tests|workloads|benchmarks)(?:\.\w+)+)`")
COMMAND = re.compile(r"`ksmbench [^`]*`")  # a command line is no name


def _listed(*patterns: str) -> list[Path]:
    names = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split()]


def _module(name: str, of_package: str = "__init__.py") -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / of_package) if file.exists()), None)


def _is_there(name: str) -> bool:
    # A module, or a name that a module or a package's __init__ has.
    if _module(name):
        return True
    parent, _, last = name.rpartition(".")
    module = _module(parent) if parent else None
    return module is not None and re.search(rf"\b{last}\b", module.read_text()) is not None


def _anchors(page: Path) -> set[str]:
    # As GitHub makes them of headings.
    headings = re.findall(r"^#+ +(.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page: Path) -> Iterator[str]:
    text = page.read_text()
    for link in LINK.findall(text):
        place, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = page.parent / place if place else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link
    yield from (place for place in PLACE.findall(text) if place not in MADE and not (ROOT / place).exists())


@pytest.mark.parametrize("page", _listed("*.md"), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_document_points_to_what_is_there(page: Path) -> None:
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    modules = [name for name in MODULE.findall(text) if name.split(".")[0] in ("workloads", "benchmarks", "tests")]
    assert [*_broken(page)] == []
    assert [name for name in modules if not _module(name, "__main__.py")] == []
    assert [name for name in TARGET.findall(text) if f"\n{name}:" not in makefile] == []
    assert [name for name in DOTTED.findall(text) if not _is_there(name)] == []


def test_names_in_docstrings_and_comments_are_there() -> None:
    said = {(file, name) for file in _listed("*.py") for name in DOTTED.findall(COMMAND.sub("", file.read_text()))}
    assert sorted(f"{file.relative_to(ROOT)}: {name}" for file, name in said if not _is_there(name)) == []
