"""What the live comparison cannot do here, or was asked wrongly, is one sentence before any guest is booted."""

from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

from benchmarks import live_guests
from ksmbench.capture.sources import Source


@pytest.fixture(autouse=True)
def _able_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A host that has all, so that each test takes one thing away.
    def never() -> NoReturn:
        raise AssertionError("nothing is installed or booted")

    (tmp_path / "pages_to_scan").write_text("100")
    monkeypatch.setattr(live_guests.sysfs, "ROOT", tmp_path)
    monkeypatch.setattr(live_guests.sysfs, "why_not", lambda: None)
    monkeypatch.setattr(live_guests, "install_host_packages", never)
    monkeypatch.setattr(live_guests, "find_guests", list)


def _refused(*words: str) -> str:
    done = CliRunner().invoke(live_guests.main, words)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_without_rights_or_ksm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_guests.sysfs, "why_not", lambda: "playing on the running kernel needs root")
    assert "needs root; ksmbench doctor" in _refused()


def test_settings_that_are_none() -> None:
    assert "NAME=VALUE" in _refused("--set", "pages_to_scan")
    assert "no such setting" in _refused("--set", "smart_scan=1")  # of a later kernel
    assert "no such setting" in _refused("--set", "../../../etc/passwd=1")


def test_what_is_in_the_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "during").mkdir()
    assert "name another folder" in _refused("-o", str(tmp_path))
    monkeypatch.setattr(live_guests, "find_guests", lambda: [Source(12, "live-2", "vm")])
    assert "live-2 run already" in _refused()


def test_a_host_without_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> NoReturn:
        raise FileNotFoundError(2, "No such file or directory", "qemu-img")

    monkeypatch.setattr(live_guests, "install_host_packages", missing)
    assert "qemu-img: No such file or directory" in _refused()
