"""Compiling ahead: in another process, and only where nothing is compiled yet."""

from pathlib import Path

import pytest

from ksmbench import jit


def test_a_cold_cache_is_told_from_a_warm_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit.numba_config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jit.numba_config, "DISABLE_JIT", 0)
    assert jit.is_cold("loop.replay_loop")
    (tmp_path / "designs").mkdir()
    (tmp_path / "designs" / "loop.replay_loop-118.py311.nbi").touch()
    assert not jit.is_cold("loop.replay_loop")
    assert not jit.is_cold()
    assert jit.is_cold("still._still_loop")


def test_the_other_process_is_waited_for_and_ended(tmp_path: Path) -> None:
    done = tmp_path / "done"
    with jit.compiled_beside(f"open({str(done)!r}, 'w').close()"):
        pass
    assert done.exists()
    with pytest.raises(KeyboardInterrupt), jit.compiled_beside("import time; time.sleep(600)"):
        raise KeyboardInterrupt
