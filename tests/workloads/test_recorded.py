"""The programs that recorded workloads run do what the traces need, in small and without a capture."""

import subprocess
import sys
import time
from pathlib import Path

from tests.capture.child import ksm_lock
from tests.capture.truth import children_of
from workloads.prefork_server.load import send
from workloads.prefork_server.service import WORKERS, Catalogue


def _serve(server: "subprocess.Popen[bytes]", path: Path) -> None:
    try:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        end = time.monotonic() + 1
        assert send(str(path), lambda: time.monotonic() < end) > 10
        workers = children_of(server.pid)
        assert len(workers) == WORKERS
    finally:
        server.terminate()
        server.wait(30)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_the_server_answers_with_all_its_workers_and_leaves_none_behind(tmp_path: Path) -> None:
    path = tmp_path / "server"
    words = [sys.executable, "-m", "workloads.prefork_server.service", str(path)]
    with ksm_lock():
        server = subprocess.Popen(words)
        _serve(server, path)


def test_new_prices_are_the_same_in_whichever_process() -> None:
    one, other = Catalogue(), Catalogue()
    one.visit("item-00001")
    for epoch in (1, 2):
        one.reprice(epoch)
        other.reprice(epoch)
    assert one.table[600 * 256 : 1200 * 256] == other.table[600 * 256 : 1200 * 256]
    assert one.table[:] != other.table[:]
