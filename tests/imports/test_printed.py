"""Logs of one program by strace, perf, tracefs and trace-cmd: its calls are in the trace, all and in order."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ksmbench.capture.tracing.tracefs import Instance, TracingClosedError
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.commands.running import assert_one_line_mistake, run
from tests.imports.test_strace import rows

_CALLS = ("mmap", "munmap", "mremap", "brk", "madvise", "process_madvise", "prctl")
_PERF_EVENTS = "syscalls:sys_*_m*,syscalls:sys_*_brk,syscalls:sys_*_prctl,task:task_newtask,sched:sched_process_*"
_FIRST, _END = 0x510000000, 0x510001000  # pages that the program uses
_RAW_PAGE = 4096


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, under a name that makes lines hard to read."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    made = tmp_path_factory.mktemp("program") / "a 1-2 [3] 4.5:"
    source = Path(__file__).with_name("known_calls.c")
    subprocess.run(["gcc", "-O1", "-pthread", "-o", str(made), str(source)], check=True)
    return made


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def _done(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{Path(words[0]).name} does not work here: {done.stderr[-300:]}")
    return done.stdout


@dataclass(frozen=True)
class _Recorded:
    format: str
    log: Path
    printed: str  # by the program


def _by_strace(words: list[str], folder: Path) -> _Recorded:
    log = folder / "log"
    options = ["-f", "-ttt", "-y", "-e", "trace=%memory,%process,prctl", "-o", str(log)]
    return _Recorded("strace", log, _done([_tool("strace"), *options, *words]))


def _by_perf(words: list[str], folder: Path, *shown: str) -> _Recorded:
    perf, data, log = _tool("perf"), folder / "data", folder / "log"
    printed = _done([perf, "record", "-q", "-m", "1024", "-o", str(data), "-e", _PERF_EVENTS, *words])
    log.write_text(_done([perf, "script", "--show-lost-events", *shown, "-i", str(data)]))
    return _Recorded("perf", log, printed)


def _by_perf_with_processes(words: list[str], folder: Path) -> _Recorded:
    return _by_perf(words, folder, "--ns", "-F", "comm,pid,tid,time,event,trace")


def _open_instance() -> Instance:
    try:
        return Instance()
    except TracingClosedError as error:
        pytest.skip(str(error))


@pytest.fixture
def instance() -> Iterator[Instance]:
    """Buffers of our own with the events that an import needs, off."""
    made = _open_instance()
    try:
        for call in _CALLS:
            for side in ("enter", "exit"):
                if made.format(f"syscalls/sys_{side}_{call}") is not None:
                    made.enable(f"syscalls/sys_{side}_{call}")
        for event in ("task/task_newtask", "sched/sched_process_fork", "sched/sched_process_exec"):
            made.enable(event)
        made.enable("sched/sched_process_exit")
        yield made
    finally:
        made.close()


def _run_traced(instance: Instance, words: list[str]) -> str:
    # The program from its exec on: a shell stops itself, is followed, goes on.
    waiting = ["sh", "-c", 'kill -STOP $$; exec "$0" "$@"', *words]
    child = subprocess.Popen(waiting, stdout=subprocess.PIPE, text=True)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    instance.follow([child.pid])
    instance.write("tracing_on", "1")
    os.kill(child.pid, signal.SIGCONT)
    printed, _ = child.communicate(timeout=60)
    instance.write("tracing_on", "0")
    assert child.returncode == 0
    return printed


def _by_tracefs(instance: Instance, words: list[str], folder: Path, *, processes: bool = False) -> _Recorded:
    if processes:
        instance.write("options/record-tgid", "1")
    printed = _run_traced(instance, words)
    log = folder / "log"
    log.write_text((instance.path / "trace").read_text())
    return _Recorded("ftrace", log, printed)


def _by_trace_cmd(instance: Instance, program: Path, folder: Path) -> _Recorded:
    # trace-cmd record needs more than events; its file can be made of the buffers, too.
    tool, log = _tool("trace-cmd"), folder / "log"
    printed = _run_traced(instance, [str(program)])
    parts = []
    for number, reader in enumerate(instance.readers()):
        part = folder / f"trace.dat.cpu{number}"
        with part.open("wb") as file:
            try:
                while piece := os.read(reader, _RAW_PAGE):
                    file.write(piece)
            except BlockingIOError:
                pass
        os.close(reader)
        parts.append(str(part))
    head, data = str(folder / "head.dat"), str(folder / "trace.dat")
    _done([tool, "restore", "-c", "-o", head])
    _done([tool, "restore", "-i", head, "-o", data, *parts])
    log.write_text(_done([tool, "report", "-i", data]))
    return _Recorded("ftrace", log, printed)


def _check(recorded: _Recorded, folder: Path) -> None:
    out = folder / "out"
    done = run("import", recorded.format, recorded.log, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "lost" not in done.stdout
    assert "understood" not in done.stdout
    trace = open_trace(out)
    found = rows(trace.events)
    result, heap = map(int, recorded.printed.split())
    space = next(space for _, space, page, *_ in found if page == _FIRST)
    child = next(value for kind, of, _, _, value in found if kind == Kind.FORK and of == space)
    wanted = [
        (Kind.MAP, space, 0, 64, 0),
        (Kind.MADVISE, space, 0, 16, 12),
        (Kind.MAP, space, 0x100, 8, 0),
        (Kind.TOUCH, space, 0x100, 8, 0),
        (Kind.MAP, space, 0x180, 8, 1),
        (Kind.MOVE, space, 0x100, 8, _FIRST + 0x200),
        (Kind.MAP, space, 0x208, 4, 0),
        (Kind.MADVISE, child, 20, 1, 4),
        (Kind.MAP, child, 0x400, 2, 0),
        (Kind.MAP, space, 0x300, 3, 0),
        (Kind.UNMAP, space, 0x200, 12, 0),
    ]
    there = [(kind, of, page - _FIRST, n, value) for kind, of, page, n, value in found if _FIRST <= page < _END]
    assert there == wanted
    whole = [
        *([] if result else [(Kind.PRCTL, space, 0, 0, 1)]),
        (Kind.MAP, space, heap // _RAW_PAGE, 4, 0),
        (Kind.FORK, space, 0, 0, child),
        (Kind.EXEC, child, 0, 0, 0),
        (Kind.EXIT, child, 0, 0, 0),
        (Kind.EXIT, space, 0, 0, 0),
    ]
    places = [found.index(row) for row in whole]
    assert places == sorted(places)
    assert [found.count(row) for row in whole] == [1] * len(whole)
    assert len(trace.spaces) == 2
    assert trace.spaces[space].name == "a 1-2 [3] 4.5:"


@pytest.mark.parametrize("record", [_by_strace, _by_perf, _by_perf_with_processes])
def test_every_call_is_there_in_order(record, program: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _check(record([str(program)], tmp_path), tmp_path)


@pytest.mark.parametrize("processes", [False, True])
def test_the_text_of_tracefs(processes: bool, instance: Instance, program: Path, tmp_path: Path) -> None:
    _check(_by_tracefs(instance, [str(program)], tmp_path, processes=processes), tmp_path)


@pytest.mark.parametrize("first", ["waits", "ends"])
@pytest.mark.parametrize("tool", ["strace", "perf", "tracefs"])
def test_a_thread_executes(tool: str, first: str, instance: Instance, program: Path, tmp_path: Path) -> None:
    """Its process goes on with the new program, whether its first thread waits or has ended."""
    words = [str(program), first]
    if tool == "tracefs":
        recorded = _by_tracefs(instance, words, tmp_path)
    else:
        recorded = (_by_strace if tool == "strace" else _by_perf)(words, tmp_path)
    done = run("import", recorded.format, recorded.log, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    trace = open_trace(tmp_path / "out")
    assert len(trace.spaces) == 1
    found = [(kind, page, n) for kind, _, page, n, _ in rows(trace.events)]
    wanted = [(Kind.MAP, _FIRST, 1), (Kind.EXEC, 0, 0), (Kind.MAP, _FIRST + 0x400, 2), (Kind.EXIT, 0, 0)]
    assert [row for row in found if row[0] in (Kind.EXEC, Kind.EXIT) or _FIRST <= row[1] < _END][-4:] == wanted


def test_the_report_of_trace_cmd(instance: Instance, program: Path, tmp_path: Path) -> None:
    _check(_by_trace_cmd(instance, program, tmp_path), tmp_path)


def test_what_a_ring_lost_is_told(instance: Instance, program: Path, tmp_path: Path) -> None:
    """Events that later ones overwrote: tracefs says how many, and so does the manifest."""
    instance.write("options/overwrite", "1")
    instance.write("buffer_size_kb", "8")
    _run_traced(instance, [str(program), "loops", "3000"])
    log, pipe = tmp_path / "log", tmp_path / "pipe"
    log.write_text((instance.path / "trace").read_text())
    with (instance.path / "trace_pipe").open("rb") as file:
        os.set_blocking(file.fileno(), False)
        with pipe.open("wb") as copy:
            try:
                while piece := os.read(file.fileno(), 1 << 16):
                    copy.write(piece)
            except BlockingIOError:
                pass
    counts = []
    for path in (log, pipe):
        done = run("import", "ftrace", path, "-o", tmp_path / "out", "--force")
        assert done.returncode == 0, done.stderr
        (note,) = [note for note in open_trace(tmp_path / "out").manifest["capture"]["not_tracked"] if "lost" in note]
        assert note in done.stdout
        counts.append(int(note.split(": ")[1].split()[0].replace(",", "")))
    assert all(count > 5000 for count in counts)


_PERF = """\
# captured on    : Wed Nov 25 00:54:56 2026
        old prog  2000 [001]   100.000001:             syscalls:sys_exit_brk: 0x557675e8d000
        old prog  2000 [001]   100.000002:  1 syscalls:sys_enter_mmap: addr: 0, len: 0x2000, prot: 3, flags: 0x22, fd: 0
            7f2b81ab9000 mmap+0x17 (/usr/lib/libc.so.6)

            lost  2000 [000]   100.000003: PERF_RECORD_LOST lost 982
         swapper     0 [000]   100.000004: sched:sched_switch: prev_comm=a prev_pid=1 ==> next_comm=b next_pid=2
        old prog  2000 [001]   100.000005:             syscalls:sys_exit_mmap: 0x7000
            kthr     2 [001]   100.000006:                 task:task_newtask: pid=9 comm=k clone_flags=800700 oom=0
            kthr     9 [001]   100.000007:           sched:sched_process_exit: comm=k pid=9 prio=120
         sibling  2001 [001]   100.000008:           syscalls:sys_enter_munmap: addr: 0x7000, len: 0x1000
         sibling  2001 [001]   100.000009:            syscalls:sys_exit_munmap: 0x0
             odd  2001 [001]   100.000010:            syscalls:sys_enter_munmap: addr: PROT_WHAT
             odd  2001 [001]   100.000009:            syscalls:sys_exit_munmap: 0x0
"""


def test_lines_of_other_kinds(tmp_path: Path) -> None:
    """What is no call is passed by; lost, odd and late events are counted; threads from before stand alone."""
    log = tmp_path / "log"
    log.write_text(_PERF)
    done = run("import", "perf", log, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for words in ("982 events were lost", "1 events could not be", "1 events come after later", "1 more threads ran"):
        assert words in done.stdout
    trace = open_trace(tmp_path / "out")
    assert rows(trace.events) == [(Kind.MAP, 0, 7, 2, 0)]
    assert [(space.name, space.pid) for space in trace.spaces] == [("old prog", 2000), ("sibling", 2001)]


def test_threads_whose_process_a_line_tells(tmp_path: Path) -> None:
    """As tracefs prints it with record-tgid: such a thread's calls are its process's."""
    lines = (
        "a-21    (     20) [000] ..... 5.000001: sys_mmap(addr: 0, len: 2000, prot: 3, flags: 22)",
        "a-21    (     20) [000] ..... 5.000002: sys_mmap -> 0x7000",
        "a-20    (-------) [000] ..... 5.000003: sys_munmap(addr: 7000, len: 1000)",
        "CPU:1 [LOST EVENTS]",
        "CPU:1 [12 EVENTS DROPPED]",
        "a-20    (     20) [000] ..... 5.000004: sys_munmap -> 0x0",
        "",
    )
    log = tmp_path / "log"
    log.write_text("\n".join(lines))
    done = run("import", "ftrace", log, "-o", tmp_path / "out")
    assert "13 events were lost" in done.stdout
    trace = open_trace(tmp_path / "out")
    assert rows(trace.events) == [(Kind.MAP, 0, 7, 2, 0), (Kind.UNMAP, 0, 7, 1, 0)]
    assert [space.pid for space in trace.spaces] == [20]


_FTRACE = """\
# entries-in-buffer/entries-written: 6/6   #P:2
            a-20    (     20) [000] ..... 5.000001: sys_mmap(addr: 0, len: 2000, prot: 3, flags: 22)
            a-20    (     20) [000] ..... 5.000002: sys_mmap -> 0x7000
            a-20    (     20) [000] ..... 5.000003: sys_mremap(addr: 7000, old_len: 1000, new_len: 2000, flags: 1)
            a-20    (     20) [000] ..... 5.000004: sys_mremap -> 0x9000
            a-20    (     20) [000] ..... 5.000005: task_newtask: pid=21 comm=a clone_flags=1200000 oom_score_adj=0
            a-21    (     21) [000] ..... 5.000006: sched_process_exec: filename=/bin/b pid=21 old_pid=21
            a-21    (     21) [000] ..... 5.000007: sched_process_exit: comm=b pid=21 prio=120 group_dead=true
"""
_STRACE = """\
20 100000000.000001 mmap(NULL, 8192, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7000
20 100000000.000002 clone3({flags=CLONE_VM|CLONE_THREAD, stack=0x0} => {parent_tid=[21]}, 88) = 21
21 100000000.000003 execve("/bin/b", ["b"], 0x7f /* 3 vars */ <pid changed to 20 ...>
20 100000000.000004 +++ superseded by execve in pid 21 +++
20 100000000.000005 <... execve resumed>) = 0
20 100000000.000006 mremap(0x7000, 4096, 8192, MREMAP_MAYMOVE) = 0x9000
20 100000000.000007 +++ exited with 0 +++
"""


@pytest.mark.parametrize(("log_format", "text"), [("perf", _PERF), ("ftrace", _FTRACE), ("strace", _STRACE)])
def test_damage_anywhere_is_a_sentence_or_a_trace(log_format: str, text: str, tmp_path: Path) -> None:
    """Bytes changed at random never end in a traceback, and what is written can be read."""
    rng = np.random.default_rng(len(text))
    likely = np.frombuffer(b"0123456789 f-:", np.uint8)
    log, out = tmp_path / "log", tmp_path / "out"
    for i in range(60):
        damaged = bytearray(text.encode())
        for at in rng.integers(0, len(damaged), int(rng.integers(1, 12))).tolist():
            damaged[at] = int(rng.integers(256)) if i % 2 else int(rng.choice(likely))
        log.write_bytes(bytes(damaged[: int(rng.integers(len(damaged)))] if i % 5 == 0 else damaged))
        done = run("import", log_format, log, "-o", out, "--force")
        assert done.returncode in (0, 2), done.stderr
        if done.returncode:
            assert_one_line_mistake(done)
        else:
            open_trace(out)
