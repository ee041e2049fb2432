"""The designs: one file each, one line each here."""

import difflib
from collections.abc import Mapping

from ksmbench.designs import ksm, none, oracle, review
from ksmbench.designs.design import RELEASES, Design, Given, Setting, Value
from ksmbench.errors import UsageError

DESIGNS: dict[str, Design] = {
    design.name: design for design in (*ksm.all_designs(), *review.DESIGNS, none.DESIGN, oracle.DESIGN)
}
DEFAULT = "ksm-6.18"


def find(name: str) -> Design:
    """The design called `name`; any release of Linux is one, and "ksm" alone is the newest."""
    if name in DESIGNS:
        return DESIGNS[name]
    if name == "ksm" or name.startswith("ksm-"):
        design = ksm.make_design(ksm.release_of(name))
        if design is not None:
            return design
    near = difflib.get_close_matches(name, DESIGNS, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    raise UsageError(f'there is no design "{name}"{hint} (designs: {_names()})')


def differences(one: str, other: str) -> list[str]:
    """What the releases that two designs model decide differently, a sentence each, newest first."""
    found = []
    for name in (one, other):
        features = ksm.features_of(find(name))
        if features is None:
            raise UsageError(f'"{name}" is none of the releases from 2.6.33 on, between which --diff tells, as ksm-6.1')
        found.append(features)
    return ksm.differences(*found)


def _names() -> str:
    kernels = [name for name, design in DESIGNS.items() if design.family == RELEASES]
    others = [name for name in DESIGNS if name not in kernels]
    return f"ksm-X.Y of any release from {kernels[-1]} to {kernels[0]}, {', '.join(others)}"


def complete_settings(design: Design, given: Mapping[str, Given]) -> dict[str, Value]:
    """`given` with the defaults of `design`, words in one spelling; what comes out may go in again.

    Raises `UsageError` for a setting that the design does not have and a value that it does not take.
    """
    known = {setting.name: setting for setting in design.settings}
    for name in given:
        if name not in known:
            has = ", ".join(known) or "none"
            why = _whose(name) or _nearest(name, known)
            raise UsageError(f'design "{design.name}" has no setting "{name}"{why} (its settings: {has})')
    return {name: setting.canonical(given.get(name, setting.default)) for name, setting in known.items()}


def _whose(name: str) -> str:
    # Which other design has a setting of that name: of the releases, the first.
    having = [design for design in DESIGNS.values() if name in {setting.name for setting in design.settings}]
    releases = [design.name for design in having if design.family == RELEASES]  # newest first
    if releases:
        return f", which came with {releases[-1]}"
    return f", which {having[0].name} has" if having else ""


def _nearest(name: str, known: Mapping[str, Setting]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def encoded(design: Design, complete: Mapping[str, Value]) -> dict[str, int]:
    """Complete settings as the design's `run` takes them: integers, words as their codes."""
    return {setting.name: setting.code(complete[setting.name]) for setting in design.settings}
