"""However a capture ends, there is a trace that opens and says where it ends."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ksmbench.capture.command import Started
from ksmbench.capture.host import available_bytes
from ksmbench.capture.manifest import Options
from ksmbench.capture.procfs import ProcessGoneError, program_identity, stat_fields
from ksmbench.capture.session import Session
from ksmbench.capture.sources import find_processes
from ksmbench.capture.stopping import Stopper
from ksmbench.capture.tracing.told import Told
from ksmbench.commands.capture import capture
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace, write_trace
from tests.capture.child import Child, Memory, Recording, needs_root


def _command(child: Child, trace: Path) -> "subprocess.Popen[str]":
    words = ["-m", "ksmbench", "capture", "--pid", str(child.pid), "-o", str(trace), "--interval", "0.1"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not trace.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@needs_root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_leaves_the_whole_trace(tmp_path: Path, number: signal.Signals) -> None:
    with Child() as child:
        process = _command(child, tmp_path / "t")
        child.do("put(11, b'late')")
        time.sleep(0.5)
        process.send_signal(number)
        output, error = process.communicate(timeout=30)
        assert process.returncode == 0, error
        assert all(line.startswith("warning: ") for line in error.splitlines())  # no progress in a pipe
        assert "interrupted" in output
        memory = Memory(tmp_path / "t")
        end = memory.trace.manifest["capture"]["end"]
        assert end["complete"]
        assert end["reason"] == "interrupted"
        assert end["time_ns"] >= memory.trace.events.time_ns[-1] > 0
        assert memory.of(child)[11] != 0
        assert [path.name for path in tmp_path.iterdir()] == ["t"]


@needs_root
def test_a_kill_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    with Child() as child:
        child.do("put(11, b'early')")
        process = _command(child, tmp_path / "t")
        process.kill()
        process.communicate()
        memory = Memory(tmp_path / "t")
        end = memory.trace.manifest["capture"]["end"]
        assert not end["complete"]
        assert "checkpoint" in end["reason"]
        assert memory.of(child)[11] != 0


def test_an_exit_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    with Child() as one, Child() as two:
        recording = Recording([one, two], tmp_path / "t")
        recording.looks()
        one.end()
        recording.looks()
        two.do("put(20, b'after')")
        recording.looks()
        two.end()
        recording.join()
        assert recording.finish().rows[-1][0] == Kind.EXIT
        assert recording.facts["end"]["reason"] == "every process ended"
        other = Memory(tmp_path / "t", space=1)
        exits = [i for i, kind in enumerate(other.trace.events.kind) if kind == Kind.EXIT]
        late = [page for kind, page, _, _ in other.rows if kind == Kind.WRITE]
        assert len(exits) == 2
        assert two.first + 20 in late


def test_a_process_is_stopped_within_its_budget_and_goes_on(tmp_path: Path) -> None:
    with Child() as child:
        recording = Recording([child], tmp_path / "t", stop_s=0.5)
        recording.looks()
        child.do("put(1, b'x')")
        recording.looks()
        assert recording.finish().of(child)[1] != 0
        assert recording.facts["stops"] >= 4
        assert "stopped" in recording.facts["consistency"]
        assert stat_fields(child.pid)[0] not in "Tt"


def test_who_is_killed_while_a_process_is_stopped_lets_it_go_on() -> None:
    with Child() as child:
        script = (
            "import os, sys; from ksmbench.capture.stopping import Stopper; "
            "Stopper(60.0).stop(int(sys.argv[1])); print('stopped', flush=True); os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", script, str(child.pid)], capture_output=True, text=True)
        assert done.stdout == "stopped\n"
        assert child.do("answer = 42") == "42"


def test_a_spent_budget_ends_the_stop() -> None:
    with Child() as child:
        stopper = Stopper(0.3)
        stopper.stop(child.pid)
        assert stat_fields(child.pid)[0] == "T"
        assert child.do("answer = 42") == "42"  # however long we take
        assert not stopper.in_time()
        assert (stopper.n_stops, stopper.n_overrun) == (1, 1)
        assert 0.3 <= stopper.longest_s < 3
        stopper.close()


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_process_goes_on_where_the_watchdog_is_killed(when: str) -> None:
    with Child() as child:
        stopper = Stopper(60.0)
        [watchdog] = stopper.pids
        if when == "while":
            stopper.stop(child.pid)
            assert stat_fields(child.pid)[0] == "T"
        os.kill(watchdog, signal.SIGKILL)
        while stat_fields(watchdog)[0] != "Z":
            time.sleep(0.001)
        if when == "before":
            stopper.stop(child.pid)
            assert stopper.n_left_out == 1
        stopper.go()
        assert child.do("answer = 42") == "42"
        stopper.close()


def test_a_command_that_has_not_begun_is_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksmbench.capture.command._GRACE_S", 1000.0)
    started = Started(["sleep", "1000"], False, "anonymous")
    source = started()
    ending = threading.Thread(target=started.end, daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive()
    assert not Path(f"/proc/{source.pid}").exists()


@needs_root
def test_what_cannot_be_closed_leaves_nothing_else_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Told.close

    def fail(self: Told) -> None:
        close(self)
        raise KsmbenchError("the tracing instance cannot be removed")

    with Child() as child:
        Session(find_processes([child.pid]), Options(tmp_path / "t", 0.02, 0.05, stop_s=0.01)).run()
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(Told, "close", fail)
        with pytest.raises(KsmbenchError, match="cannot be removed"):
            Session(find_processes([child.pid]), Options(tmp_path / "u", 0.02, 0.05, stop_s=0.01)).run()
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before
    assert open_trace(tmp_path / "u").manifest["capture"]["end"]["complete"]


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    runner = CliRunner()

    def refused(*words: str) -> KsmbenchError:
        error = runner.invoke(capture, words).exception
        assert isinstance(error, KsmbenchError), error
        return error

    some = ("--pid", str(os.getpid()))
    assert isinstance(refused("-o", str(tmp_path / "t")), UsageError)
    assert isinstance(refused("-o", str(tmp_path / "t"), "--qemu", *some), UsageError)
    assert isinstance(refused("-o", str(tmp_path / "t"), *some, "web-1"), UsageError)
    assert "--force" in str(refused("-o", str(tmp_path / "old"), *some))
    assert "not a trace" in str(refused("-o", str(tmp_path / "old"), "--force", *some))
    for option in ("--interval", "--duration"):
        for number in ("nan", "inf"):
            assert runner.invoke(capture, ("-o", str(tmp_path / "t"), *some, option, number)).exit_code == 2
    gone = refused("-o", str(tmp_path / "t"), "--pid", str(2**22 + 5))
    assert gone.exit_code == 2
    missing = refused("-o", str(tmp_path / "t"), "--qemu", "no-such-guest")
    assert missing.exit_code == 2
    assert "no-such-guest" in str(missing)
    unknown = refused("-o", str(tmp_path / "t"), "--", "no-such-command")
    assert unknown.exit_code == 2
    assert "no-such-command cannot be started" in str(unknown)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


@needs_root
def test_lost_events_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksmbench.capture.tracing.tracefs.Instance.lost", lambda _: 1234)
    with Child() as child:
        words = ["--pid", str(child.pid), "-o", str(tmp_path / "t"), "--duration", "0.05"]
        text = CliRunner().invoke(capture, words, catch_exceptions=False).stdout
        document = json.loads(CliRunner().invoke(capture, [*words, "--force", "--json"], catch_exceptions=False).stdout)
    calls = document["capture"]["system_calls"]
    if calls["source"] != "tracefs":
        pytest.skip("needs tracefs")
    assert "by tracefs; 1,234 events lost" in text
    assert "1,234 events of system calls were lost" in text
    assert calls["lost"] == 1234
    assert any("1,234 events" in note for note in document["notes"])
    assert document["events"] == len(open_trace(tmp_path / "t").events.kind)


def test_the_manifest_says_how_it_was_made(tmp_path: Path) -> None:
    with Child() as child:
        Recording([child], tmp_path / "t").finish()
    manifest = open_trace(tmp_path / "t").manifest
    facts = manifest["capture"]
    assert facts["interval_ns"] == 20_000_000
    assert facts["sources"] == [{"pid": child.pid, "name": facts["sources"][0]["name"], "kind": "process"}]
    assert facts["tracked"]
    assert facts["not_tracked"]
    assert "nothing was stopped" in facts["consistency"]
    assert "ksm" in manifest["host"]


def test_changed_settings_of_ksm_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, int | str] = {"run": 0, "pages_to_scan": 100, "advisor_mode": "none"}
    monkeypatch.setattr("ksmbench.capture.host.ksm_settings", lambda: dict(found))
    monkeypatch.setattr("ksmbench.capture.session.ksm_settings", lambda: dict(found))
    with Child() as child:
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        found.update(run=1, advisor_mode="scan-time")
        recording.looks()
        memory = recording.finish()
    assert memory.trace.manifest["host"]["ksm"] == {"run": 0, "pages_to_scan": 100, "advisor_mode": "none"}
    events = memory.trace.events
    tunes = [i for i, kind in enumerate(events.kind) if kind == Kind.TUNE]
    assert [(memory.trace.names[events.name[i]], events.value[i]) for i in tunes] == [("run", 1), ("advisor_mode", 1)]


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write(trace: Trace, path: Path, **how: Any) -> None:
        if written:
            raise KsmbenchError("no space left")
        written.append(path)
        write_trace(trace, path, **how)

    monkeypatch.setattr("ksmbench.capture.session.write_trace", write)
    with Child() as child:
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        with pytest.raises(KsmbenchError, match="no space left"):
            recording.finish()
    assert "checkpoint" in open_trace(tmp_path / "t").manifest["capture"]["end"]["reason"]


def test_what_appears_at_the_output_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(trace: Trace, path: Path, **how: Any) -> None:
        path.mkdir(exist_ok=True)
        (path / "trace.json").write_text("somebody else's")
        write_trace(trace, path, **how)

    monkeypatch.setattr("ksmbench.capture.session.write_trace", write)
    with Child() as child:
        recording = Recording([child], tmp_path / "t")
        recording.join()
        with pytest.raises(UsageError, match="exists already"):
            recording.finish()
    assert (tmp_path / "t/trace.json").read_text() == "somebody else's"


def test_contents_in_memory_stay_within_the_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/self/cgroup": "4:memory:/a/b\n3:cpu:/\n0::/c",
        "/proc/meminfo": "MemAvailable: 3000 kB",
        "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712",
        "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2000000",
        "/sys/fs/cgroup/c/memory.max": "max",
    }
    monkeypatch.setattr("ksmbench.capture.host._text", lambda path: files.get(str(path), ""))
    assert available_bytes() == 2_000_000
    files["/sys/fs/cgroup/memory.max"] = "1000000"
    assert available_bytes() == 1_000_000


def test_a_process_that_has_given_up_its_memory_has_ended() -> None:
    with Child() as child:
        os.kill(child.pid, signal.SIGKILL)
        while stat_fields(child.pid)[0] != "Z":
            time.sleep(0.001)
        with pytest.raises(ProcessGoneError):  # and has not become another program
            program_identity(child.pid)
