"""The workloads that can be made anew: what their folders say of them, and how they are run.

`workloads/` stands beside the package in a checkout, and in `ksmbench/_shipped` where a wheel was installed. A folder
has a `workload.toml` with a table per workload, and beside it `capture.toml`, how a real one is recorded, or
`parameters.toml`, what a synthetic one is made from; their tables have the workloads' names. What stands in those, and
under `settings` in the first, may be set for one run.
"""

import difflib
import importlib
import os
import shutil
import string
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click

from ksmbench.errors import KsmbenchError, UsageError

Value = int | float | str | bool
KINDS = ("real", "synthetic")
_DESCRIBED = {"title", "stands_for", "kind", "needs", "seconds", "run", "settings", "parameters"}
_NOT_SET = {"notes", "options"}  # of capture.toml: they belong to the workload


@dataclass(frozen=True)
class Recipe:
    """One workload. `run` is a module with its arguments, for `python -m`; `{NAME}` in these is a setting."""

    name: str
    folder: Path
    title: str
    stands_for: str
    kind: str
    needs: tuple[str, ...]
    seconds: int
    run: tuple[str, ...]
    settings: dict[str, Value]
    notes: str
    options: tuple[str, ...]  # further ones of `ksmbench capture`


def root() -> Path:
    """The folder that holds `workloads`, to be found by Python."""
    package = Path(__file__).resolve().parent
    for place in (package / "_shipped", package.parent):
        if any((place / "workloads").glob("*/workload.toml")):
            return place
    raise KsmbenchError(f"the workloads are missing from this installation ({package}); install ksmbench again")


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        return tomllib.load(file)


def _recipe(name: str, told: dict[str, Any], folder: Path) -> Recipe:
    unknown = told.keys() - _DESCRIBED
    if unknown or told["kind"] not in KINDS:
        raise ValueError(f"{folder / 'workload.toml'}: {name} has unknown entries: {unknown or told['kind']}")
    capture = _tables(folder / "capture.toml").get(name, {})
    parameters = _tables(folder / "parameters.toml").get(told.get("parameters", name), {})
    settings = told.get("settings", {}) | capture | parameters
    return Recipe(
        name=name,
        folder=folder,
        title=told["title"],
        stands_for=told["stands_for"],
        kind=told["kind"],
        needs=tuple(told["needs"]),
        seconds=told["seconds"],
        run=tuple(told["run"]),
        settings={key: value for key, value in settings.items() if key not in _NOT_SET},
        notes=capture.get("notes", told["title"]),
        options=tuple(capture.get("options", ())),
    )


@cache
def recipes() -> dict[str, Recipe]:
    """Every workload by name: real ones first, then by folder, in the order of its file."""
    found = {}
    for path in sorted((root() / "workloads").glob("*/workload.toml")):
        for name, told in _tables(path).items():
            found[name] = _recipe(name, told, path.parent)
    return dict(sorted(found.items(), key=lambda item: KINDS.index(item[1].kind)))


def find(name: str) -> Recipe:
    """The workload of that name; raises `UsageError` with the nearest for an unknown one."""
    known = recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else "`ksmbench workload list` shows them"
        raise UsageError(f"there is no workload {name}; {hint}")
    return known[name]


def _lacking(need: str) -> str | None:
    # How to get what a workload needs and this host lacks.
    installs = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if need == "root":
        return None if os.geteuid() == 0 else "root, to read other processes' memory: run it with sudo"
    if need == "debian":
        there = shutil.which("apt-get") is not None
        return None if there else "apt-get and Debian's archive, which the guests' image is made from: run it on Debian"
    if need == "qemu":  # a recipe installs it, where it can, and says so
        there = shutil.which("qemu-system-x86_64") is not None or installs
        return None if there else "QEMU: apt-get install --no-install-recommends qemu-system-x86 qemu-utils seabios"
    if need == "cgroup":
        there = " cgroup" in Path("/proc/mounts").read_text()
        return None if there else "control groups: mount -t cgroup2 none /sys/fs/cgroup"
    return None if shutil.which(need) else f"{need}: apt-get install {need}"


def _converted(recipe: Recipe, key: str, text: str) -> Value:
    default = recipe.settings[key]
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return type(default)(text)
    except (ValueError, KeyError):
        kind = {bool: "true or false", int: "an integer", float: "a number"}[type(default)]
        raise UsageError(f'--set "{key}={text}": {key} of {recipe.name} is {kind}, as in {key}={default}') from None


def parse(recipe: Recipe, given: tuple[str, ...], seed: int | None) -> dict[str, Value]:
    """The settings in `given`, NAME=VALUE texts, as what the workload takes; raises `UsageError` for others."""
    if seed is not None:
        if "seed" not in recipe.settings:
            raise UsageError(f"{recipe.name} has no seed; leave --seed out")
        given = (*given, f"seed={seed}")
    settings: dict[str, Value] = {}
    for text in given:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise UsageError(f'--set "{text}": write NAME=VALUE, as in duration=30')
        if key in recipe.settings:
            settings[key] = _converted(recipe, key, value)
        elif _selects(recipe):  # what it takes depends on which it is, and it says so itself
            settings[key] = value
        else:
            near = difflib.get_close_matches(key, recipe.settings, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(recipe.settings)}"
            raise UsageError(f"{recipe.name} has no setting {key}; {hint}")
    return settings


def _selects(recipe: Recipe) -> list[str]:
    # The settings that its arguments name.
    return [field for word in recipe.run for _, field, _, _ in string.Formatter().parse(word) if field]


def arguments(recipe: Recipe, output: Path, settings: dict[str, Value], force: bool) -> list[str]:
    """The words after `python -m MODULE` that make the trace `output`."""
    chosen = recipe.settings | settings
    words = [word.format(**chosen) for word in recipe.run[1:]]
    words += ["-o", str(output), *(["--force"] if force else [])]
    for key, value in settings.items():
        if key in _selects(recipe):
            continue
        words += (
            ["--set", f"{key}={value}"] if recipe.kind == "synthetic" else [f"--{key.replace('_', '-')}", str(value)]
        )
    return words


def run(recipe: Recipe, output: Path, settings: dict[str, Value], force: bool) -> int:
    """Make the trace `output` and return an exit status; raises `UsageError` where this host lacks what it needs."""
    for need in recipe.needs:
        lacking = _lacking(need)
        if lacking is not None:
            raise UsageError(f"{recipe.name} needs {lacking}")
    place = str(root())
    if place not in sys.path:
        sys.path.insert(0, place)
    command: click.Command = importlib.import_module(f"{recipe.run[0]}.__main__").main
    words = arguments(recipe, output, settings, force)
    try:
        status = command.main(words, prog_name=f"python -m {recipe.run[0]}", standalone_mode=False)
    except SystemExit as end:
        status = end.code
    return status if isinstance(status, int) else 0
