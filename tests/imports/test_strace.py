"""Logs of strace: a real one, and lines about threads, vfork and interrupted calls."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ksmbench.imports.logs import read_log
from ksmbench.trace.columns import Events
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.commands.running import assert_one_line_mistake, run
from tests.imports.building import PAGE

_SCRIPT = """
import ctypes, mmap, os
area = mmap.mmap(-1, 64 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area.madvise(mmap.MADV_MERGEABLE, 0, 16 * 4096)
libc = ctypes.CDLL(None)
libc.prctl(67, 1, 0, 0, 0)
print(ctypes.addressof(ctypes.c_char.from_buffer(area)), flush=True)
child = os.fork()
if child == 0:
    area.madvise(mmap.MADV_DONTNEED, 0, 4096)
    os._exit(0)
os.waitpid(child, 0)
"""


def rows(events: Events) -> list[tuple[int, int, int, int, int]]:
    """Kind, space, page, count and value of each event."""
    columns = (events.kind, events.space, events.page, events.n_pages, events.value)
    return [*zip(*(column.tolist() for column in columns), strict=True)]


def calls(tmp_path: Path, text: str) -> list[tuple[int, int, int, int, int]]:
    """The events of a log."""
    log = tmp_path / "log"
    log.write_text(text)
    return rows(read_log("strace", log)[0].events())


def test_a_real_log(tmp_path: Path) -> None:
    """What the script did is in the trace, in order."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    log = tmp_path / "log"
    words = [strace, "-f", "-ttt", "-y", "-e", "trace=%memory,%process,prctl", "-o", str(log), sys.executable, "-c"]
    done = subprocess.run([*words, _SCRIPT], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"strace does not work here: {done.stderr[-200:]}")
    area = int(done.stdout) // PAGE
    imported = run("import", "strace", log, "-o", tmp_path / "out")
    assert imported.returncode == 0, imported.stderr
    trace = open_trace(tmp_path / "out")
    found = rows(trace.events)
    parent = next(space for kind, space, page, *_ in found if kind == Kind.MADVISE and page == area)
    child = next(value for kind, space, _, _, value in found if kind == Kind.FORK and space == parent)
    wanted = [
        (Kind.MAP, parent, area, 64, 0),
        (Kind.MADVISE, parent, area, 16, 12),
        (Kind.PRCTL, parent, 0, 0, 1),
        (Kind.FORK, parent, 0, 0, child),
        (Kind.MADVISE, child, area, 1, 4),
        (Kind.EXIT, child, 0, 0, 0),
        (Kind.EXIT, parent, 0, 0, 0),
    ]
    places = [found.index(row) for row in wanted]
    assert places == sorted(places)
    assert trace.spaces[child].name == trace.spaces[parent].name
    assert (np.diff(trace.events.time_ns) >= 0).all()


def test_growing_and_moving(tmp_path: Path) -> None:
    """What mremap grows has the kind and the advice of what it grows from; the heap grows without."""
    found = calls(
        tmp_path,
        """\
100000000.000001 brk(NULL) = 0x10000
100000000.000002 brk(0x12000) = 0x12000
100000000.000003 madvise(0x10000, 8192, MADV_MERGEABLE) = 0
100000000.000004 brk(0x13000) = 0x13000
100000000.000005 brk(0x11000) = 0x11000
100000000.000006 mmap(NULL, 8192, PROT_READ, MAP_SHARED, 3</dev/shm/x>, 0) = 0x20000
100000000.000007 mremap(0x20000, 8192, 16384, MREMAP_MAYMOVE) = 0x40000
100000000.000008 munmap(0x90000, 4096) = 0
100000000.000009 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0) = 0x50000
100000000.000010 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS|MAP_LOCKED, -1, 0) = 0x60000
100000000.000011 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3</x>, 0) = -1 ENOMEM (Cannot allocate memory)
""",
    )
    assert found == [
        (Kind.MAP, 0, 16, 2, 0),
        (Kind.MADVISE, 0, 16, 2, 12),
        (Kind.MAP, 0, 18, 1, 0),  # without advice, as Linux 6.18 has it
        (Kind.UNMAP, 0, 17, 2, 0),
        (Kind.MAP, 0, 32, 2, 1),
        (Kind.MOVE, 0, 32, 2, 64),
        (Kind.MAP, 0, 66, 2, 1),
        (Kind.MAP, 0, 80, 1, 0),
        (Kind.TOUCH, 0, 80, 1, 0),
        (Kind.MAP, 0, 96, 1, 0),
        (Kind.READ, 0, 96, 1, 0),
    ]


def test_threads_vfork_and_interrupted_calls(tmp_path: Path) -> None:
    """A thread's calls are its process's; vfork makes no space, execve after it does; a child's lines may be early."""
    found = calls(
        tmp_path,
        """\
10 100000000.000001 clone3({flags=CLONE_VM|CLONE_THREAD, stack=0x0} => {parent_tid=[11]}, 88) = 11
11 100000000.000002 munmap(0x1000, 4096 <unfinished ...>
10 100000000.000003 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0 <unfinished ...>
11 100000000.000004 <... munmap resumed>) = 0
10 100000000.000005 <... mmap resumed>) = 0x7000
11 100000000.000006 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x9000
10 100000000.000007 prctl(0x43 /* PR_??? */, 0x1, 0, 0, 0) = 0
10 100000000.000008 vfork( <unfinished ...>
12 100000000.000009 munmap(0x7000, 4096) = 0
12 100000000.000010 execve("/bin/new", ["new"], 0x7ff /* 1 var */ <unfinished ...>
10 100000000.000011 <... vfork resumed>) = 12
12 100000000.000012 <... execve resumed>) = 0
12 100000000.000013 +++ exited with 0 +++
10 100000000.000014 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>
13 100000000.000015 munmap(0x9000, 4096) = 0
10 100000000.000016 <... clone resumed>, child_tidptr=0x7) = 13
11 100000000.000017 +++ exited with 0 +++
13 100000000.000018 +++ killed by SIGKILL +++
10 100000000.000019 +++ exited with 0 +++
""",
    )
    assert found == [
        (Kind.MAP, 0, 7, 1, 0),
        (Kind.MAP, 0, 9, 1, 0),
        (Kind.PRCTL, 0, 0, 0, 1),
        (Kind.UNMAP, 0, 7, 1, 0),
        (Kind.PRCTL, 1, 0, 0, 1),
        (Kind.EXIT, 1, 0, 0, 0),
        (Kind.FORK, 0, 0, 0, 2),
        (Kind.UNMAP, 2, 9, 1, 0),
        (Kind.EXIT, 2, 0, 0, 0),
        (Kind.EXIT, 0, 0, 0, 0),
    ]


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "100000000.000001 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7000\n"
        "100000000.000002 madvise(0x7000, what, MADV_MERGEABLE) = 0\n"
        "100000000.000003 <... brk resumed>) = 0x1000\n"
    )
    done = run("import", "strace", log, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2 lines could not be read" in done.stdout
    assert_one_line_mistake(run("import", "strace", log, log, "-o", tmp_path / "other"))
