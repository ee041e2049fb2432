"""Dumps at moments of what a log of system calls tells, as one timeline."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ksmbench.imports import joining
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.commands.running import Done, assert_one_line_mistake, run
from tests.imports import building
from tests.imports.building import MM, PAGE, elf, held, page
from tests.imports.test_printed import _PERF_EVENTS, _done, _tool
from tests.imports.test_strace import rows

_FLAGS = "PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS"
_LOG = f"""\
7 1000.000000 mmap(NULL, 32768, {_FLAGS}, -1, 0) = 0x10000
7 1001.000000 madvise(0x10000, 16384, MADV_MERGEABLE) = 0
7 1003.000000 mremap(0x10000, 32768, 32768, MREMAP_MAYMOVE|MREMAP_FIXED, 0x40000) = 0x40000
7 1004.000000 fork() = 8
8 1005.000000 madvise(0x40000, 4096, MADV_DONTNEED) = 0
7 1006.000000 munmap(0x44000, 16384) = 0
7 1009.000000 mmap(NULL, 8192, {_FLAGS}|MAP_POPULATE, -1, 0) = 0x80000
7 1011.000000 execve("/bin/new", ["new"], 0x7ff /* 1 var */) = 0
8 1012.000000 +++ exited with 0 +++
7 1013.000000 +++ exited with 0 +++
"""
_SECOND = 10**9


def _log(folder: Path) -> Path:
    path = folder / "log"
    path.write_text(_LOG.replace(" 10", " 10000010"))
    return path


def _joined(tmp_path: Path, files: dict[float, Path], *more: object, format_name: str = "elf") -> Done:
    words: list[object] = ["import", format_name, *files.values(), "-o", tmp_path / "out", "--force"]
    for at in files:
        words += ["--at", at]
    return run(*words, "--keep-contents", "--log", f"strace:{_log(tmp_path)}", *more)


def _cores(folder: Path) -> dict[float, Path]:
    stack = (0x70000, page(9), PAGE)  # which no call tells of
    early = [(0x10000, page(1) + page(2) + page(3), 8 * PAGE), stack]
    later = [(0x40000, page(1) + page(5), 4 * PAGE), stack]
    last = [(0x40000, page(1) + page(5), 4 * PAGE), stack, (0x80000, page(0) + page(6), 2 * PAGE)]
    return {
        2: elf(folder / "early", early, pid=7),
        8: elf(folder / "later", later, pid=7),
        8.5: elf(folder / "child", [(0x40000, bytes(0), 4 * PAGE), (0x41000 + 7 * PAGE, page(2), PAGE)], pid=8),
        10: elf(folder / "last", last, pid=7),
    }


def test_calls_between_dumps(tmp_path: Path) -> None:
    """Each page has what the calls leave of it, and what the dumps say; only what differs is written."""
    files = _cores(tmp_path)
    child = files.pop(8.5)
    done = _joined(tmp_path, files)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    parent = {16: page(1), 17: page(2), 18: page(3), 0x70: page(9)}
    moved = {64: page(1), 65: page(2), 66: page(3), 0x70: page(9)}
    changed = {64: page(1), 65: page(5), 0x70: page(9)}
    copied = {number: data for number, data in moved.items() if number != 64}
    assert held(out, 2 * _SECOND) == [parent, {}]
    assert held(out, 5 * _SECOND) == [moved, copied]
    assert held(out, 8 * _SECOND) == [changed, copied]
    assert held(out, 10 * _SECOND) == [changed | {0x80: page(0), 0x81: page(6)}, copied]
    assert held(out) == [{}, {}]
    trace = open_trace(out)
    found = rows(trace.events)
    maps = [row[1:] for row in found if row[0] == Kind.MAP]
    assert maps == [(0, 16, 8, 0), (0, 0x70, 1, 0), (0, 0x80, 2, 0)]
    writes = [row[1:4] for row in found if row[0] == Kind.WRITE]
    # A page that a call filled with zeros and that holds them still is not written.
    assert writes == [(0, 16, 1), (0, 17, 1), (0, 18, 1), (0, 0x70, 1), (0, 65, 1), (0, 0x81, 1)]
    assert [space.name for space in trace.spaces] == ["new", "pid-7"]

    # A dump of the child shows what it has of its own.
    core = elf(child, [(0x40000, page(0), 4 * PAGE), (0x41000, page(2), PAGE), (0x42000, page(3), PAGE)], pid=8)
    assert_one_line_mistake(_joined(tmp_path, {8.5: core}))
    core = elf(child, [(0x40000, page(7) + page(2), 4 * PAGE)], pid=8)
    done = _joined(tmp_path, {2: files[2], 8.5: core})
    assert done.returncode == 0, done.stderr
    assert held(out, 9 * _SECOND)[1] == {64: page(7), 65: page(2), 0x70: page(9)}


@pytest.mark.parametrize("start", ["1000001000.5", "2001-09-09T02:03:20.5+00:00"])
def test_the_trace_begins_where_it_is_said(start: str, tmp_path: Path) -> None:
    """What was before is at time 0; dumps count from there."""
    done = _joined(tmp_path, {1.5: _cores(tmp_path)[2]}, "--log-start", start)
    assert done.returncode == 0, done.stderr
    events = open_trace(tmp_path / "out").events
    assert events.time_ns[0] == 0
    assert events.time_ns[1] == _SECOND // 2
    assert set(events.time_ns[events.kind == Kind.WRITE].tolist()) == {3 * _SECOND // 2}


def test_images_of_criu(tmp_path: Path) -> None:
    """Mappings have the kinds of the calls where these tell of them, else those of the images; advice too."""
    folder = building.criu(tmp_path / "images", 7, {16: page(1), 0x70: page(2), 0x72: page(3)})
    listed = b""
    for start, end, status, advice in ((16, 24, 1 << 8, 0), (0x70, 0x73, 1 << 9 | 2, 1 << 12)):
        listed += building.message(f14=building.message(f1=start * PAGE, f2=end * PAGE, f7=status, f9=advice))
    building.image(folder / "mm-7.img", MM, [listed])
    done = _joined(tmp_path, {2: folder}, format_name="criu")
    assert done.returncode == 0, done.stderr
    assert held(tmp_path / "out", 2 * _SECOND)[0] == {16: page(1), 0x70: page(2), 0x72: page(3)}
    found = rows(open_trace(tmp_path / "out").events)
    assert (Kind.MAP, 0, 0x70, 3, 0) in found
    assert (Kind.MADVISE, 0, 0x70, 3, 12) in found
    increment = building.criu(tmp_path / "increment", 7, {16: page(4), 0x70: None, 0x72: None})
    done = _joined(tmp_path, {2: folder, 2.5: increment}, format_name="criu")
    assert done.returncode == 0, done.stderr
    assert held(tmp_path / "out", 2_500_000_000)[0] == {16: page(4), 0x70: page(2), 0x72: page(3)}
    assert_one_line_mistake(_joined(tmp_path, {2.5: increment}, format_name="criu"))


def test_what_cannot_be_joined_is_one_sentence(tmp_path: Path) -> None:
    core = _cores(tmp_path)[2]
    child = elf(tmp_path / "eight", [(0x40000, page(1), PAGE)], pid=8)
    guest = elf(tmp_path / "guest", [(0, page(1), PAGE)], guest=True)
    nobody = elf(tmp_path / "nobody", [(0x10000, page(1), PAGE)])
    log = f"strace:{_log(tmp_path)}"
    at = ("--at", 2, "--log")
    for word, arguments in (
        ("has ended it", ("elf", child, "--at", 20, "--log", log)),
        ("has not begun it", ("elf", child, *at, log)),
        ("of which process", ("elf", guest, *at, log)),
        ("of which process", ("elf", nobody, *at, log)),
        ("one moment", ("elf", core, core, "--at", 2, *at, log)),
        ("needs --at", ("elf", core, "--log", log)),
        ("is not a dump of one", ("raw", core, *at, log)),
        ("FORMAT:FILE", ("elf", core, *at, _log(tmp_path))),
        ("leave out", ("elf", core, *at, log, "--mergeable")),
        ("leave out", ("elf", core, *at, log, "--name", "a")),
        ("--log-start never", ("elf", core, *at, log, "--log-start", "never")),
        ("--log-start nan", ("elf", core, *at, log, "--log-start", "nan")),
        ("--log-start -1", ("elf", core, *at, log, "--log-start", "-1")),
        ("does not tell the date", ("elf", core, *at, f"perf:{core}", "--log-start", "2026-11-25")),
        ("no system calls", ("elf", core, *at, f"perf:{core}")),
        ("name it with --log", ("elf", core, "--log-start", 3)),
    ):
        done = run("import", *arguments, "-o", tmp_path / "out")
        assert_one_line_mistake(done)
        assert word in done.stderr, (word, done.stderr)
        assert not (tmp_path / "out").exists()
    assert set(joining.FORMATS) == {"elf", "criu"}


_PROCESS = """
import ctypes, mmap, os, signal, sys
area = mmap.mmap(-1, 64 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area[:8192] = b"a" * 4096 + b"b" * 4096
print(ctypes.addressof(ctypes.c_char.from_buffer(area)), flush=True)
sys.stdin.readline()
area.madvise(mmap.MADV_DONTNEED, 0, 4096)
area[12288:16384] = b"c" * 4096
area.madvise(mmap.MADV_MERGEABLE, 0, 32768)
print(flush=True)
sys.stdin.readline()
"""


def test_cores_of_gcore_in_a_log_of_perf(tmp_path: Path) -> None:
    """A process that perf follows, dumped twice while it runs."""
    gcore, perf, data = _tool("gcore"), _tool("perf"), tmp_path / "data"
    words = [perf, "record", "-q", "-k", "CLOCK_MONOTONIC", "-o", str(data), "-e", _PERF_EVENTS, "--"]
    words += [sys.executable, "-c", _PROCESS]
    recorder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert recorder.stdin is not None
    assert recorder.stdout is not None
    moments = []
    try:
        first = recorder.stdout.readline()
        if not first:
            pytest.skip("perf does not work here")
        area = int(first) // PAGE
        child = int(Path(f"/proc/{recorder.pid}/task/{recorder.pid}/children").read_text().split()[0])
        for _ in range(2):
            _done([gcore, "-o", str(tmp_path / f"core{len(moments)}"), str(child)])
            moments.append(time.monotonic())
            recorder.stdin.write("\n")
            recorder.stdin.flush()
            recorder.stdout.readline()
        recorder.communicate(timeout=60)
    finally:
        if recorder.poll() is None:
            os.killpg(recorder.pid, signal.SIGKILL)
            recorder.communicate()
    log = tmp_path / "log"
    log.write_text(_done([perf, "script", "--ns", "-i", str(data)]))
    cores = [tmp_path / f"core{i}.{child}" for i in range(2)]
    out = tmp_path / "out"
    start = moments[0] - 0.001
    ats = ["--at", moments[0] - start, "--at", moments[1] - start]
    of_log = ("--log", f"perf:{log}", "--log-start", start)
    done = run("import", "elf", *cores, *ats, *of_log, "-o", out, "--keep-contents", "--zeroes", "absent")
    assert done.returncode == 0, done.stderr
    trace = open_trace(out)
    space = next(space for space in range(len(trace.spaces)) if trace.spaces[space].pid == child)

    def seen(at_s: float) -> dict[int, bytes]:
        pages = held(out, round(at_s * 1e9))[space]
        return {number - area: data[:1] for number, data in pages.items() if area <= number < area + 64}

    assert seen(moments[0] - start) == {0: b"a", 1: b"b"}
    assert seen(moments[1] - start) == {1: b"b", 3: b"c"}
    found = rows(trace.events)
    assert (Kind.MADVISE, space, area, 1, 4) in found
    assert (Kind.MADVISE, space, area, 8, 12) in found
    # That the first page went, the call told; the dump after it finds nothing to add about it.
    assert [row for row in found if row[0] == Kind.MADVISE and row[2] == area and row[4] == 4] == [
        (Kind.MADVISE, space, area, 1, 4)
    ]
