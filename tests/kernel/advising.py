"""What the running kernel's scan-time advisor decides after each full scan, with the time and CPU that it saw.

`record` starts this module as a program of its own: tracefs is mounted for that process alone, and its own pages are
what ksmd scans.
"""

import ctypes
import json
import mmap
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ksmbench.validate.sysfs import KsmSession, read, store

_TRACING = Path("/sys/kernel/tracing")
_INSTANCE = _TRACING / "instances/ksmbench-advisor"
_EVENT = re.compile(r" (\d+\.\d+): ksm_advisor: ksm scan time (\d+) pages_to_scan (\d+) cpu percent (\d+)")
_PAGE = 4096
_MADV_NOHUGEPAGE, _MADV_MERGEABLE = 15, 12
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 1 << 14, 1 << 18


@dataclass
class Phase:
    """Settings that hold for some full scans; `anew`: the advisor is turned on after they are stored."""

    settings: dict[str, int]
    full_scans: int
    anew: bool = True


@dataclass
class Told:
    """What a phase showed: pages_to_scan after its stores and at its end, ksmd's CPU time, and the advisor's events."""

    before: int
    after: int
    ksmd_ns: tuple[int, int]
    events: list[tuple[float, int, int, int]]  # when, scan time (s), pages_to_scan chosen, percent of a CPU


def record(
    n_pages: int, phases: list[Phase], stores: list[tuple[str, str]]
) -> tuple[list[Told], list[tuple[bool, int]]]:
    """The phases one after the other; then each store: whether it was taken, and what pages_to_scan is then."""
    asked = json.dumps([n_pages, [asdict(phase) for phase in phases], stores])
    command = [sys.executable, "-m", "tests.kernel.advising"]
    told = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, timeout=900)
    assert told.returncode == 0, told.stderr
    phases_told, stores_told = json.loads(told.stdout)
    return [Told(**row) for row in phases_told], [(bool(ok), int(pages)) for ok, pages in stores_told]


def _own_tracefs() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    alone = libc.unshare(_CLONE_NEWNS) or libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    if alone or libc.mount(b"tracefs", str(_TRACING).encode(), b"tracefs", ctypes.c_ulong(0), None):
        raise OSError(ctypes.get_errno(), "tracefs cannot be mounted")


def _ksmd() -> Path:
    return next(p for p in Path("/proc").iterdir() if p.name.isdigit() and (p / "comm").read_text() == "ksmd\n")


def _mergeable(n_pages: int) -> mmap.mmap:
    # Distinct only in their last bytes: then one looks at whole pages, and ksmd takes a good part of a CPU.
    memory = mmap.mmap(-1, n_pages * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(_MADV_NOHUGEPAGE)
    words = np.frombuffer(memory, np.uint64).reshape(n_pages, -1)
    words[:] = 1
    words[:, -1] = np.random.default_rng(1).permutation(n_pages).astype(np.uint64)
    del words
    memory.madvise(_MADV_MERGEABLE)
    return memory


def _events(pipe: int) -> Iterator[tuple[float, int, int, int]]:
    # Lines come whole from a trace_pipe.
    try:
        text = os.read(pipe, 1 << 16).decode()
    except BlockingIOError:
        return
    for found in _EVENT.finditer(text):
        yield float(found[1]), int(found[2]), int(found[3]), int(found[4])


def _play(phase: dict[str, Any], ksmd: Path, pipe: int) -> Told:
    if phase["anew"]:
        store("advisor_mode", "none")
    for name, value in phase["settings"].items():
        store(name, value)
    if phase["anew"]:
        store("advisor_mode", "scan-time")
    before, began = int(read("pages_to_scan")), int((ksmd / "schedstat").read_text().split()[0])
    events: list[tuple[float, int, int, int]] = []
    store("run", 1)
    while len(events) < phase["full_scans"]:
        time.sleep(0.02)
        events += _events(pipe)
    store("run", 0)
    events += _events(pipe)
    ended = int((ksmd / "schedstat").read_text().split()[0])
    return Told(before, int(read("pages_to_scan")), (began, ended), events)


def _taken(name: str, value: str) -> bool:
    try:
        store(name, value)
    except OSError:
        return False
    return True


def _main() -> None:
    n_pages, phases, stores = json.load(sys.stdin)
    if not os.access(_TRACING / "instances", os.W_OK):
        _own_tracefs()
    ksmd = _ksmd()
    with KsmSession():
        _INSTANCE.mkdir(exist_ok=True)
        memory = _mergeable(n_pages)
        (_INSTANCE / "events/ksm/ksm_advisor/enable").write_text("1")
        pipe = os.open(_INSTANCE / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            told = [asdict(_play(phase, ksmd, pipe)) for phase in phases]
            tried = [(_taken(name, value), int(read("pages_to_scan"))) for name, value in stores]
        finally:
            store("run", 0)
            os.close(pipe)
            _INSTANCE.rmdir()
            memory.close()
    json.dump([told, tried], sys.stdout)


if __name__ == "__main__":
    _main()
