"""The programs that recorded workloads run do what the traces need, in small and without a capture."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.capture.child import ksm_lock
from tests.capture.truth import children_of
from workloads.balloon_guest.monitor import Monitor
from workloads.database_cgroup.__main__ import group
from workloads.database_cgroup.client import Redis, record
from workloads.prefork_prctl.service import Site
from workloads.prefork_server.load import send
from workloads.prefork_server.service import WORKERS, Catalogue
from workloads.short_functions.platform import FUNCTIONS


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


@pytest.mark.parametrize("words", [("short_functions.platform", "20"), ("growing_allocators.launcher", "30")])
def test_ctrl_c_is_left_to_the_capture(words: tuple[str, ...]) -> None:
    with ksm_lock():
        program = subprocess.Popen(
            [sys.executable, "-m", f"workloads.{words[0]}", *words[1:]], stderr=subprocess.PIPE, start_new_session=True
        )
        while not children_of(program.pid):
            assert program.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)  # so that a child has begun
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
        time.sleep(0.3)
        assert program.poll() is None
        program.terminate()
        assert program.communicate(timeout=30)[1] == b""
    assert program.returncode == 143


def test_new_prices_are_the_same_in_whichever_process() -> None:
    one, other = Catalogue(), Catalogue()
    one.visit("item-00001")
    for epoch in (1, 2):
        one.reprice(epoch)
        other.reprice(epoch)
    assert one.table[600 * 256 : 1200 * 256] == other.table[600 * 256 : 1200 * 256]
    assert one.table[:] != other.table[:]


def test_pages_that_workers_render_are_the_same_until_a_category_changes() -> None:
    one, other = Site(), Site()
    assert one.render(3) == other.render(3) == one.render(3)
    before = one.render(0)
    one._change()
    assert one.render(0) != before
    assert other.render(0) == before
    other._change()
    assert other.render(0) == one.render(0)


def test_a_worker_that_opted_in_answers_and_journals() -> None:
    site = Site()
    assert site.enter(16) == 2 * site.enter(0)
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"GET /items/item-00042 HTTP/1.1\r\n\r\n")
        site.answer(here)
        answer = there.recv(8192)
    assert answer.startswith(b"HTTP/1.0 200 OK\r\nContent-Length: 1500\r\n\r\n<h1>item-00042</h1>")
    assert b'"item": "item-00042"' in site._journal[:512]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_run_and_end(name: str) -> None:
    path = Path(__file__).parents[2] / "workloads" / "short_functions" / "function.py"
    done = subprocess.run([sys.executable, "-I", path, name, "5", "0"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= 0


def test_what_the_platform_starts_is_mergeable_through_exec(tmp_path: Path) -> None:
    code = "from workloads.mergeable import opt_in; import subprocess, sys; opt_in(); print(subprocess.run("
    code += "['cat', '/proc/self/ksm_stat'], capture_output=True, text=True).stdout)"
    with ksm_lock():
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if "ksm_merge_any" not in said.stdout:
        pytest.skip("this kernel does not tell of PR_SET_MEMORY_MERGE")
    assert "ksm_merge_any: yes" in said.stdout


def test_records_differ_by_key_and_version_and_are_the_same_wherever_made() -> None:
    assert record(1, 0) == record(1, 0)
    assert len({record(key, version) for key in range(50) for version in range(3)}) == 150


def test_commands_and_answers_of_the_database_fit(tmp_path: Path) -> None:
    path = tmp_path / "redis"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        redis = Redis(str(path))
        server, _ = listening.accept()
        with server:
            server.sendall(b"+OK\r\n$5\r\nhello\r\n$-1\r\n")
            answers = redis.do([("SET", "a", "hällo"), ("GET", "a"), ("GET", "b")])
            assert answers == [b"OK", b"hello", b"-1"]
            sent = server.recv(4096)
            redis.close()
    assert sent.startswith(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$6\r\nh\xc3\xa4llo\r\n*2\r\n")


def test_the_monitor_speaks_qmp_past_events(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    sizes = iter([200, 160])

    def qemu(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rw", encoding="utf-8") as lines:
            print('{"QMP": {}}', file=lines, flush=True)
            for line in lines:
                command = json.loads(line)
                if command["execute"] == "query-balloon":
                    print('{"event": "BALLOON_CHANGE"}', file=lines)
                    print(json.dumps({"return": {"actual": next(sizes) << 20}}), file=lines, flush=True)
                elif command["execute"] == "eject":
                    print('{"error": {"desc": "no such device"}}', file=lines, flush=True)
                else:
                    print('{"return": {}}', file=lines, flush=True)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        server = threading.Thread(target=qemu, args=(listening,))
        server.start()
        monitor = Monitor(path)
        assert monitor.balloon(160) == 160
        with pytest.raises(RuntimeError, match="eject: no such device"):
            monitor.do("eject")
        monitor.close()
        server.join(10)
    assert not server.is_alive()


def test_a_database_runs_in_a_group_and_leaves_none(tmp_path: Path) -> None:
    if os.geteuid() != 0 or " cgroup" not in Path("/proc/mounts").read_text():
        pytest.skip("a control group is made by root, where they are mounted")
    with ksm_lock(), group() as folder:
        launcher = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "workloads.database_cgroup.launcher",
                str(folder),
                str(tmp_path),
                "0",
                "0",
                "sleep",
                "60",
            ],
            stderr=subprocess.PIPE,
        )
        end = time.monotonic() + 20
        seen = False  # it is in the group only until it finds that this is no redis
        while not seen and time.monotonic() < end:
            seen = str(launcher.pid) in (folder / "cgroup.procs").read_text().split()
        assert seen
        launcher.terminate()
        launcher.communicate()
    assert not folder.exists()
