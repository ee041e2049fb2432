"""A process that performs a known script of mixed operations (`script.c`): its calls, and its memory at checkpoints."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import ksmbench
from ksmbench.capture.tracing.tracefs import Instance, TracingClosedError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.capture.child import ksm_lock, needs_root
from tests.capture.truth import Page, Played, groups

_OPERATIONS, _EVERY = 2000, 100
_PFN = (1 << 55) - 1


def _has_tracefs() -> bool:
    try:
        Instance().close()
    except TracingClosedError:
        return False
    return True


needs_tracefs = pytest.mark.skipif(
    not _has_tracefs(), reason="system calls in order need tracefs, which is closed here"
)
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="the script has to be compiled: needs gcc")


class Scripted(NamedTuple):
    """What the script said, and what was recorded."""

    trace: Trace
    log: list[list[str]]
    reports: dict[int, dict[int, np.ndarray]]  # of each checkpoint, of each process: page, pagemap's entry, hash


def _marks(trace: Path) -> int:
    try:
        return int(json.loads((trace / "trace.json").read_text())["capture"]["marks"])
    except FileNotFoundError:
        return 0


def _run(folder: Path, seed: int, calls: str, interval: float) -> Scripted:
    program = folder / "script"
    source = Path(__file__).with_name("script.c")
    subprocess.run(["gcc", "-O1", "-static", "-w", "-o", program, source], check=True)
    for name in ("asked", "answered"):
        os.mkfifo(folder / name)
    words = [sys.executable, "-m", "ksmbench", "capture", "-o", str(folder / "t"), "--interval", str(interval)]
    words += ["--calls", calls, "--", str(program), str(seed), str(_OPERATIONS), str(_EVERY), str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as capture:
        try:
            with open(folder / "asked") as asked, open(folder / "answered", "w", buffering=1) as answered:
                for line in asked:
                    number = int(line.split()[1])
                    capture.send_signal(signal.SIGUSR1)
                    deadline = time.monotonic() + 60
                    while _marks(folder / "t") < number:
                        assert capture.poll() is None, capture.communicate()
                        assert time.monotonic() < deadline
                        time.sleep(0.01)
                    answered.write("\n")
            output, error = capture.communicate(timeout=60)
        finally:
            capture.kill()
    assert capture.returncode == 0, error
    reports: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
    for path in folder.glob("report-*"):
        _, checkpoint, pid = path.name.split("-")
        reports[int(checkpoint)][int(pid)] = np.fromfile(path, np.uint64).reshape(-1, 3)
    log = [line.split() for line in (folder / "log").read_text().splitlines()]
    return Scripted(open_trace(folder / "t"), log, reports)


def _spaces(trace: Trace) -> dict[int, int]:
    # The last space of each process: what a vfork's child executes is another one.
    return {space.pid: number for number, space in enumerate(trace.spaces) if space.pid is not None}


def _events_until(trace: Trace, row: int) -> Trace:
    columns = {name: column[:row] for name, column in trace.events._asdict().items()}
    return replace(trace, events=type(trace.events)(**columns))


def _at_one_page(frames: dict[Page, int | str] | dict[Page, int]) -> set[frozenset[Page]]:
    numbers: dict[object, int] = {}
    return groups({(s, p): numbers.setdefault((frame, p), len(numbers)) for (s, p), frame in frames.items()})


def _check_memory(ran: Scripted, *, frames: bool = True) -> int:
    # Returns how many pages were compared.
    trace, n = ran.trace, 0
    spaces = _spaces(trace)
    marks = np.flatnonzero(trace.events.kind == Kind.MARK)
    assert len(marks) == len(ran.reports) == _OPERATIONS // _EVERY
    for number, row in enumerate(marks.tolist(), start=1):
        played = Played(_events_until(trace, row))
        numbers, hashes, entries = {}, {}, set()
        for pid, report in ran.reports[number].items():
            for page, entry, digest in report.tolist():
                where = (spaces[pid], page)
                numbers[where], hashes[where] = entry & _PFN, digest
                entries.add(where)
        here = {where: frame for where, frame in played.frame.items() if where in entries}
        assert here.keys() == entries, f"checkpoint {number}: {len(here.keys() ^ entries)} pages are there or not"
        # A trace can say that frames are shared at the same pages only (`not_tracked` in the manifest).
        if frames:
            assert _at_one_page(here) == _at_one_page(numbers), f"checkpoint {number}: who shares frames"
        content = {where: played.content[where] for where in entries}
        assert groups(content) == groups(hashes), f"checkpoint {number}: contents"
        n += len(entries)
        samples = ksmbench.replay(
            trace, design="none", until=int(trace.events.time_ns[row]) / 1e9, sample="end"
        ).samples
        anonymous = [frame for frame in played.frame.values() if frame != "zero"]
        assert samples["pages_anon"][-1] == len(anonymous)
        assert samples["frames"][-1] == len(set(anonymous))
    return n


def _wanted(line: list[str], spaces: dict[int, int]) -> tuple[int, ...]:
    # The row of a call in the log, without its time.
    pid, verb, numbers = int(line[0]), line[1], [int(word) for word in line[2:]]
    space = spaces[pid]
    if verb == "fork":
        return (Kind.FORK, space, 0, 0, spaces[numbers[0]])
    if verb == "exited":
        return (Kind.EXIT, spaces[numbers[0]], 0, 0, 0)
    if verb == "prctl":
        return (Kind.PRCTL, space, 0, 0, numbers[0])
    kind = Kind[verb.upper()]
    return (kind, space, *numbers, *([0] * (3 - len(numbers))))


@needs_root
@needs_gcc
@needs_tracefs
@pytest.mark.parametrize("seed", [1, 2])
def test_memory_at_each_checkpoint_and_every_call_in_order(tmp_path: Path, seed: int) -> None:
    with ksm_lock():
        ran = _run(tmp_path, seed, "tracefs", 0.05)
    calls = ran.trace.manifest["capture"]["system_calls"]
    assert calls["source"] == "tracefs"
    assert calls["lost"] == 0
    spaces = _spaces(ran.trace)
    rows = [tuple(map(int, row)) for row in zip(*ran.trace.events[1:6], strict=True)]
    at = -1
    for number, line in enumerate(ran.log):
        try:
            at = rows.index(_wanted(line, spaces), at + 1)
        except ValueError:
            raise AssertionError(
                f"line {number} of the log, {' '.join(line)}, is not in the trace after row {at}"
            ) from None
    assert len(ran.log) > _OPERATIONS // 3
    assert _check_memory(ran) > 1000


@needs_root
@needs_gcc
@pytest.mark.parametrize("calls", ["strace", "none"])
def test_memory_at_each_checkpoint_without_tracefs(tmp_path: Path, calls: str) -> None:
    """By strace likewise; by looks alone frames are counted as far as they tell, contents and presence always."""
    if calls == "strace" and shutil.which("strace") is None:
        pytest.skip("needs strace")
    with ksm_lock():
        ran = _run(tmp_path, 3, calls, 0.05)
    source = ran.trace.manifest["capture"]["system_calls"]["source"]
    assert source == ("strace" if calls == "strace" else "differences between looks")
    assert _check_memory(ran, frames=calls == "strace") > 1000
