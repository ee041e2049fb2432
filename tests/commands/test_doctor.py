"""`ksmbench doctor` says what is there and what to do for the rest."""

import json
import os

import pytest

from ksmbench.doctor import Finding, examine, text
from ksmbench.validate import building
from tests.commands.running import run


def test_it_tells_every_area_with_a_remedy_for_what_is_missing() -> None:
    done = run("doctor", "--json")
    assert done.returncode == 0
    findings = json.loads(done.stdout)["findings"]
    assert {finding["area"] for finding in findings} == {"capture", "validate", "guests"}
    assert all(finding["seen"] for finding in findings)
    assert all(finding["remedy"] for finding in findings if not finding["ok"])


def test_its_table_has_a_line_for_each() -> None:
    lines = text([Finding("capture", "fly", False, "no wings", "grow some"), Finding("guests", "walk", True, "legs")])
    assert lines.splitlines()[2:] == [
        "capture",
        "  no  fly: no wings",
        "        -> grow some",
        "",
        "guests",
        "  yes walk: legs",
    ]


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building.shutil, "which", lambda name: None)
    finding = next(found for found in examine() if found.ability == "compile the player")
    assert not finding.ok
    assert "apt-get install gcc" in finding.remedy


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = run("doctor")
    assert done.returncode == 0, done.stderr
    assert "run as root" in done.stdout
