"""Running guests are found by themselves, with their names and their memory."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ksmbench.capture.comparing import Comparer
from ksmbench.capture.guests import guest_memory, guest_name
from ksmbench.capture.manifest import Options
from ksmbench.capture.pagemap import PRESENT, PageMap, Pages, join
from ksmbench.capture.procfs import parse_smaps, thread_states
from ksmbench.capture.reading import Reader
from ksmbench.capture.session import Session
from ksmbench.capture.sources import Source, find_guests, never_shared
from ksmbench.errors import KsmbenchError
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import Kind
from ksmbench.trace.schema import Mapping as MappingKind
from tests.capture.child import PAGE, Memory

_QEMU = shutil.which("qemu-system-x86_64")
_NAME = f"ksmbench-test-{os.getpid()}"

_SMAPS = """\
{a:x}000-{b:x}000 rw-p 00000000 00:00 0 {name}
Size:               8192 kB
Rss:                   8 kB
VmFlags: rd wr mr mw me ac {flags}
"""


def _smaps(*mappings: tuple[int, int, str, str]) -> str:
    return "".join(_SMAPS.format(a=a, b=b, name=name, flags=flags) for a, b, name, flags in mappings)


def test_guest_memory_is_told_from_the_rest_of_qemu() -> None:
    text = _smaps(
        (0x1000, 0x2000, "[heap]", ""),
        (0x10000, 0x20000, "", "dc mg hg"),
        (0x30000, 0x30020, "", "dc mg"),
        (0x40000, 0x40020, "", "hg"),
        (0x50000, 0x50001, "[vdso]", ""),
    )
    text += "60000000-60001000 rw-p 00000000 08:01 4711 /usr/bin/x\nVmFlags: rd wr mg\n"
    text += "70000000-70001000 rw-s 00000000 00:01 12 /dev/shm/ram\nVmFlags: rd wr sh mg\n"
    text += "80000000-90000000 rwxp 00000000 00:00 0 \nVmFlags: rd wr ex dc hg\n"
    text += _smaps((0xA0000, 0xA0010, "[anon:VmFlags: mg]", ""))  # a process may name its mappings as it likes
    found = parse_smaps(text)
    kinds = {kind: [m.start for m in found if m.kind == kind] for kind in MappingKind}
    assert kinds == {
        MappingKind.ANONYMOUS: [0x1000, 0x10000, 0x30000, 0x40000, 0x80000, 0xA0000],
        MappingKind.NEVER: [0x50000, 0x70000],
        MappingKind.FILE: [0x60000],
    }
    guest = guest_memory([m for m in found if m.start < 0x60000])
    assert [(m.start, m.name) for m in guest] == [(0x10000, "ram"), (0x30000, "rom")]
    assert guest[0].flags == {"dc", "mg", "hg"}


def test_what_is_selected_of_a_process_and_of_a_guest() -> None:
    text = _smaps((0x1000, 0x2000, "[heap]", "mg"), (0x10000, 0x20000, "", "dc"), (0x50000, 0x50001, "[vdso]", "de"))
    text += "60000000-60001000 r-xp 00000000 08:01 4711 /usr/bin/x\nVmFlags: rd ex\n"
    text += "70000000-70001000 rw-s 00000000 00:01 12 /dev/shm/ram\nVmFlags: rd wr sh\n"
    mappings = parse_smaps(text)

    def starts(kind: str, selection: str) -> list[int]:
        return [m.start for m in Source(1, "", kind, selection=selection).select(mappings)]

    assert starts("process", "anonymous") == [0x1000, 0x10000, 0x60000]
    assert starts("process", "mergeable") == starts("vm", "mergeable") == [0x1000]
    assert starts("process", "all") == starts("vm", "all") == [0x1000, 0x10000, 0x50000, 0x60000, 0x70000]
    assert starts("vm", "anonymous") == [0x1000, 0x10000]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["qemu-system-x86_64", "-name", "web"], "web"),
        (["qemu-system-x86_64", "-name", "guest=web,debug-threads=on"], "web"),
        (["qemu-system-x86_64", "-name", "process=x,guest=web"], "web"),
        (["qemu-system-x86_64", "-m", "64"], "qemu-12"),
    ],
)
def test_names_of_guests(words: list[str], name: str) -> None:
    assert guest_name(words, 12) == name


def test_a_guest_whose_program_was_upgraded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksmbench.capture.sources.all_pids", lambda: [os.getpid()])
    monkeypatch.setattr("ksmbench.capture.guests.command_line", lambda pid: ["kvm", "-name", "old"])
    monkeypatch.setattr("os.readlink", lambda path: "/usr/libexec/qemu-kvm (deleted)")
    assert [source.name for source in find_guests()] == ["old"]


@pytest.fixture
def guest() -> Iterator[Source]:
    if _QEMU is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    if os.geteuid() != 0:
        pytest.skip("a guest's memory may be read by root only")
    # Not mergeable: it does not disturb who uses this machine's KSM.
    words = [_QEMU, "-name", f"guest={_NAME}", "-machine", "q35,mem-merge=off", "-accel", "tcg", "-m", "64"]
    process = subprocess.Popen([*words, "-display", "none", "-nodefaults", "-serial", "stdio"], stdin=subprocess.PIPE)
    try:
        while True:
            assert process.poll() is None
            try:
                [source] = find_guests([_NAME])
                if any(m.name == "ram" and m.end - m.start == 16384 for m in source.mappings()):
                    break
            except KsmbenchError:
                continue
        yield source
    finally:
        process.kill()
        process.communicate()


def _n_present(guest: Source) -> int:
    pagemap = PageMap(guest.pid)
    try:
        pages = [pagemap.look(m.start, m.end) for m in never_shared(guest, guest.mappings())]
        return sum(int(np.count_nonzero(of.state == PRESENT)) for of in pages)
    finally:
        pagemap.close()


def _compare(memory: Memory, pid: int) -> None:
    # The contents' ids stand in the order of their bytes, and are equal where those are.
    known: dict[int, bytes] = {0: bytes(PAGE)}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for page, content in memory.pages.items():
            if isinstance(content, int):
                file.seek(page * PAGE)
                assert known.setdefault(content, data := file.read(PAGE)) == data
    ranked = [known[content] for content in sorted(known)]
    assert all(a < b for a, b in pairwise(ranked))
    assert len(known) > 100


def test_a_guest_is_recorded(guest: Source, tmp_path: Path) -> None:
    session = Session([guest], Options(tmp_path / "t", 0.1, 1.0))
    stop = threading.Timer(0.5, os.kill, (guest.pid, signal.SIGSTOP))  # so that its memory can be compared afterwards
    stop.start()
    session.run()
    memory = Memory(tmp_path / "t")
    _compare(memory, guest.pid)
    [space] = memory.trace.spaces
    assert (space.name, space.kind, space.pid) == (_NAME, "vm", guest.pid)
    names = [memory.trace.names[i] for i in memory.trace.events.name if i >= 0]
    assert {"ram", "rom"} <= set(names)
    ram = next((page, n) for kind, page, n, _ in memory.rows if kind == Kind.MAP and n == 16384)
    advised = [value for kind, value in memory.kinds(*ram) if kind == Kind.MADVISE]
    assert 10 in advised
    assert 12 not in advised
    written = [page for page, content in memory.pages.items() if ram[0] <= page < sum(ram) and content]
    assert written  # by the firmware


def test_reading_a_guest_the_quick_way_changes_nothing_of_it(guest: Source) -> None:
    deadline = time.monotonic() + 60
    while _n_present(guest) < 1000:  # until its firmware has written something
        assert time.monotonic() < deadline
    os.kill(guest.pid, signal.SIGSTOP)
    while set(thread_states(guest.pid)) != {"T"}:
        continue
    quick = never_shared(guest, guest.mappings())
    assert "ram" in {m.name for m in quick}
    pagemap = PageMap(guest.pid)

    def look() -> Pages:
        return join([pagemap.look(m.start, m.end) for m in quick])

    before = look()
    pages = before.page[before.state == PRESENT]
    pages = pages[pagemap.exclusive(pages)]
    assert len(pages) > 100
    with ContentStore(PAGE) as store:
        comparer = Comparer(Reader(), store)
        quickly, slowly = np.full(len(pages), -1), np.full(len(pages), -1)
        for content, unshared in ((quickly, True), (slowly, False)):
            assert comparer.compare(guest.pid, pages, content, unshared=unshared, in_time=lambda: None).all()
        assert (quickly == slowly).all()
    after = look()
    pagemap.close()
    for one, other in zip(before, after, strict=True):  # the same pages, states, huge pages and frames
        assert (one == other).all()


def test_memory_that_ksm_may_take_is_read_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    mappings = guest_memory(parse_smaps(_smaps((0x10000, 0x20000, "", "dc mg hg"), (0x30000, 0x30020, "", "dc"))))
    monkeypatch.setattr("ksmbench.capture.sources.may_merge", lambda pid: True)
    assert [m.start for m in never_shared(Source(1, "", "vm"), mappings)] == [0x30000]
    monkeypatch.setattr("ksmbench.capture.sources.may_merge", lambda pid: False)
    assert len(never_shared(Source(1, "", "vm"), mappings)) == 2
    assert never_shared(Source(1, "", "process"), mappings) == []
