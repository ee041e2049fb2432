"""One session of KSM at a time: who has to wait is told."""

from pathlib import Path

import pytest

from ksmbench.validate import lock


def test_who_has_to_wait_is_told_once_and_gets_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCK", tmp_path / "run" / "lock")
    told: list[str] = []
    first = lock.take_lock(lambda: told.append("first"))

    def end_first() -> None:
        told.append("second")
        first.close()

    with lock.take_lock(end_first):
        assert lock.is_taken()
    assert told == ["second"]
    assert not lock.is_taken()
