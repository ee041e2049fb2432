"""The kernel's trace buffers: their pages, and the instance that holds them."""

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ksmbench.capture.procfs import start_time
from ksmbench.capture.tracing.ring import find_events
from ksmbench.capture.tracing.tracefs import Instance, TracingClosedError, parse_format
from ksmbench.capture.tracing.tracer import Event, Tracer

_PAGE = 4096


def _page(time: int, *words: int, length: int | None = None) -> bytes:
    # A page as the kernel gives it: time, bytes that follow, events, zeros up to its end.
    body = np.array(words, np.uint32).tobytes()
    head = np.array([time, len(body) if length is None else length], np.uint64).tobytes()
    return (head + body).ljust(_PAGE, b"\0")


def _event(delta: int, *data: int) -> list[int]:
    return [len(data) | delta << 5, *data]


def _found(raw: bytes) -> list[tuple[int, int, int]]:
    return list(zip(*(column.tolist() for column in find_events(raw, _PAGE)), strict=True))


def test_events_with_their_times() -> None:
    extended = [30 | 5 << 5, 2]  # 5 + (2 << 27) ns later
    long = [0 | 1 << 5, 4 + 4 * 40, *range(40)]  # its length stands behind
    discarded = [29 | 7 << 5, 4, *[]]  # of one word
    raw = _page(1000, *_event(10, 1, 2), *extended, *long, *discarded, *_event(3, 9)) + _page(5, *_event(1, 7))
    first = 1010 + 5 + (2 << 27) + 1
    assert _found(raw) == [
        (1010, 20, 8),
        (first, 20 + 8 + 8 + 8, 160),
        (first + 7 + 3, 20 + 8 + 8 + 8 + 160 + 8 + 4, 4),
        (6, _PAGE + 20, 4),
    ]


def test_an_absolute_time() -> None:
    assert _found(_page(1000, 31 | 77 << 5, 1, *_event(1, 5))) == [((1 << 27) + 78, 28, 4)]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_page_holds_nothing_beyond_it_is_read(seed: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 1 << 32, _PAGE * 8 // 4, np.uint32).tobytes()
    for _, at, size in _found(raw):
        assert at // _PAGE == (at + max(size, 1) - 1) // _PAGE
    long = _found(_page(1, *_event(1, 5), length=1 << 26))
    assert long[0] == (2, 20, 4)
    assert all(at + size <= _PAGE for _, at, size in long)


def test_a_format_file() -> None:
    text = (
        "name: sched_process_exec\nID: 365\nformat:\n"
        "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n"
        "\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n"
        "\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;\n"
        "\tfield:char comm[16];\toffset:16;\tsize:16;\tsigned:0;\n\nprint fmt: ...\n"
    )
    found = parse_format(text)
    assert found.number == 365
    assert [(f.name, f.is_text, f.is_dynamic, f.signed) for f in found.fields] == [
        ("filename", True, True, False),
        ("pid", False, False, True),
        ("comm", True, False, False),
    ]


@pytest.fixture
def tracer() -> Tracer:
    try:
        return Tracer()
    except TracingClosedError as error:
        pytest.skip(f"needs tracefs: {error}")


def test_calls_of_ours_in_order(tracer: Tracer) -> None:
    try:
        tracer.begin()
        area = mmap.mmap(-1, 40 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(mmap.MADV_NOHUGEPAGE)
        area.close()
        subprocess.run(["/bin/true"], check=True)
        told: list[Event] = list(tracer.events())
        mine = [e for e in told if e.tid == os.getpid() and e.name.startswith("sys_enter")]
        lengths = [(e.name, e.fields.get("len", e.fields.get("len_in"))) for e in mine]
        at = lengths.index(("sys_enter_mmap", 40 * _PAGE))
        rest = [name for name, length in lengths[at:] if length == 40 * _PAGE]
        assert rest == ["sys_enter_mmap", "sys_enter_madvise", "sys_enter_munmap"]
        programs = [e.fields["filename"] for e in told if e.name == "sched_process_exec"]
        assert programs == ["/bin/true"]
        assert [e.time_ns for e in told] == sorted(e.time_ns for e in told)
        assert all(0 <= time.monotonic_ns() - e.time_ns < 60 * 10**9 for e in told)
        assert tracer.facts()["lost"] == 0
    finally:
        tracer.close()


def _instance() -> Instance:
    try:
        return Instance()
    except TracingClosedError as error:
        pytest.skip(f"needs tracefs: {error}")


def _killed_capture(output: Path) -> int:
    # Returns its process id.
    words = [sys.executable, "-m", "ksmbench", "capture", "--pid", str(os.getpid()), "-o", str(output)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not output.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    return process.pid


def test_the_next_capture_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    first = _instance()
    try:
        parent = os.getppid()
        running = first.path.parent / f"ksmbench-{parent}-{start_time(parent)}"
        strange = first.path.parent / f"ksmbench-of-another-tool-{os.getpid()}"
        killed = f"ksmbench-{_killed_capture(tmp_path / 't')}-"
        assert [path for path in first.path.parent.iterdir() if path.name.startswith(killed)]
        running.mkdir()
        strange.mkdir()
    finally:
        first.close()
    following = _instance()
    try:
        left = [path.name for path in following.path.parent.iterdir()]
        assert not [name for name in left if name.startswith(killed)]
        assert {running.name, strange.name} <= set(left)
    finally:
        for made in (running, strange):
            (following.path.parent / made.name).rmdir()
        following.close()
