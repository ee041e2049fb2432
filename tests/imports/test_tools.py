"""Files that the real tools make: QEMU's pmemsave and dump-guest-memory, gdb's gcore."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.commands.running import assert_one_line_mistake, run
from tests.imports.building import PAGE, held, page

_QEMU, _GCORE = shutil.which("qemu-system-x86_64"), shutil.which("gcore")
_LOADED = 0x1000000  # where the guest's memory holds what the test put there
_MEMORY = 32 << 20


class _Monitor:
    """QEMU's machine protocol."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r")
        self._lines.readline()
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: Any) -> None:
        """Run a command to its end."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self._lines.readline())
            assert "error" not in answer, answer
            if "return" in answer:
                return

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[_Monitor]:
    """A guest that does not run, with known bytes in its memory; it never asks for merging."""
    if _QEMU is None:
        pytest.skip("needs qemu-system-x86_64")
    loaded, door = tmp_path / "loaded", tmp_path / "qmp"
    loaded.write_bytes(page(1) + page(2) + page(1))
    words = [
        _QEMU,
        "-accel",
        "tcg",
        "-machine",
        "pc,mem-merge=off",
        "-m",
        "32",
        "-nodefaults",
        "-display",
        "none",
        "-S",
    ]
    words += ["-device", f"loader,file={loaded},addr={_LOADED:#x},force-raw=on", "-qmp", f"unix:{door},server=on"]
    guest = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not door.exists():
            assert guest.poll() is None, guest.stderr.read() if guest.stderr else ""
        # The socket listens a moment after it has its name.
        for _ in range(10_000):
            try:
                connected = _Monitor(door)
                break
            except ConnectionRefusedError:
                continue
        yield connected
        connected.close()
    finally:
        guest.kill()
        guest.wait()
        if guest.stderr is not None:
            guest.stderr.close()


def _imported(tmp_path: Path, format_name: str, file: Path, *more: str) -> dict[int, bytes]:
    out = tmp_path / f"{format_name}.trace"
    done = run("import", format_name, file, "-o", out, "--keep-contents", "--force", *more)
    assert done.returncode == 0, done.stderr
    assert run("info", out).returncode == 0
    (space,) = held(out)
    return space


def test_a_guest_by_pmemsave_and_by_core(monitor: _Monitor, tmp_path: Path) -> None:
    """Both files hold the guest's memory, and the same."""
    raw, core = tmp_path / "raw", tmp_path / "core"
    monitor.do("pmemsave", val=0, size=_MEMORY, filename=str(raw))
    monitor.do("dump-guest-memory", paging=False, protocol=f"file:{core}")
    by_raw = _imported(tmp_path, "raw", raw)
    by_core = _imported(tmp_path, "elf", core)
    assert len(by_raw) == _MEMORY // PAGE
    first = _LOADED // PAGE
    for space in (by_raw, by_core):
        assert [space[first + i] for i in range(4)] == [page(1), page(2), page(1), page(0)]
    # The core has all of RAM; at addresses where the machine shows a device or ROM, pmemsave reads that.
    low = range(0xA0000 // PAGE)
    high = range(0x100000 // PAGE, _MEMORY // PAGE)
    assert all(by_core[number] == by_raw[number] for number in (*low, *high))
    assert open_trace(tmp_path / "elf.trace").spaces[0].kind == "vm"

    core.write_bytes(core.read_bytes()[: _MEMORY // 2])
    assert_one_line_mistake(run("import", "elf", core, "-o", tmp_path / "out"))
    raw.write_bytes(raw.read_bytes()[:-1])
    assert_one_line_mistake(run("import", "raw", raw, "-o", tmp_path / "out"))


def test_compressed_dumps_are_named(monitor: _Monitor, tmp_path: Path) -> None:
    """kdump-compressed is not read; the sentence says what to do instead."""
    file = tmp_path / "compressed"
    monitor.do("dump-guest-memory", paging=False, protocol=f"file:{file}", format="kdump-zlib")
    done = run("import", "raw", file, "-o", tmp_path / "out")
    assert_one_line_mistake(done)
    assert "kdump-compressed" in done.stderr
    assert_one_line_mistake(run("import", "elf", file, "-o", tmp_path / "out"))


_PROCESS = """
import mmap, sys
area = mmap.mmap(-1, 64 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
given = sys.stdin.buffer.read(2 * 4096)
area[:4096] = area[3 * 4096:4 * 4096] = given[:4096]
area[8 * 4096:9 * 4096] = given[4096:]
import ctypes
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
print(address, flush=True)
sys.stdin.buffer.read(1)
"""


@pytest.mark.skipif(_GCORE is None, reason="needs gcore, which comes with gdb")
def test_a_process_by_gcore(tmp_path: Path) -> None:
    """The core of a process has what it wrote, at its addresses, and its name."""
    child = subprocess.Popen([sys.executable, "-c", _PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(page(1) + page(2))
        child.stdin.flush()
        start = int(child.stdout.readline()) // PAGE
        made = subprocess.run(
            [str(_GCORE), "-o", str(tmp_path / "core"), str(child.pid)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            pytest.skip(f"gcore does not work here: {made.stderr[-200:]}")
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    core = tmp_path / f"core.{child.pid}"
    space = _imported(tmp_path, "elf", core, "--zeroes", "absent")
    assert {number - start: space[number] for number in space if start <= number < start + 64} == {
        0: page(1),
        3: page(1),
        8: page(2),
    }
    trace = open_trace(tmp_path / "elf.trace")
    assert trace.spaces[0].kind == "process"
    assert trace.spaces[0].pid == child.pid
    assert trace.spaces[0].name.startswith("python")
    files = trace.events.value[trace.events.kind == Kind.MAP] == 2
    assert files.any()
    core.write_bytes(core.read_bytes()[: core.stat().st_size // 2])
    assert_one_line_mistake(run("import", "elf", core, "-o", tmp_path / "out"))
