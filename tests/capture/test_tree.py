"""Children of a fork are spaces whose frames are shared as the kernel shares them; what mremap moved is a move."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ksmbench.capture.known import shifted, without
from ksmbench.capture.moves import Move, find_moves
from ksmbench.capture.pagemap import PRESENT, PageMap, Pages
from ksmbench.capture.procfs import Mapping
from ksmbench.capture.reading import Reader
from ksmbench.capture.tree import children, same_memory
from ksmbench.commands.capture import capture
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from ksmbench.trace.walk import make_walk, walk
from tests.capture.child import REGION, Child, Recording
from tests.capture.truth import Page, Played, children_of, groups, truth

needs_numbers = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel shows the numbers of frames to root only")

# Forks a child that runs statements of its own: `tell(i, text)` has child i run one and waits until it did.
_FORKS = (
    "import os, socket\n"
    "ends = []\n"
    "def follow(end):\n"
    "    while True:\n"
    "        line = end.recv(9999).decode()\n"
    "        if not line: os._exit(0)\n"
    "        exec(line, globals())\n"
    "        end.send(b'.')\n"
    "def fork():\n"
    "    ours, theirs = socket.socketpair()\n"
    "    if os.fork() == 0:\n"
    "        ours.close()\n"
    "        ctypes.CDLL(None).prctl(1, 9)\n"  # PR_SET_PDEATHSIG: it ends with its parent
    "        os.dup2(os.open('/dev/null', os.O_RDWR), 1)\n"
    "        follow(theirs)\n"
    "    theirs.close()\n"
    "    ends.append(ours)\n"
    "def tell(i, text):\n"
    "    ends[i].send(text.encode()); ends[i].recv(1)\n"
)


def _forking(child: Child) -> None:
    child.do(f"exec({_FORKS!r}, globals())")


def _check(trace: Trace, pids: list[int], first: int, n: int = REGION, spaces: list[int] | None = None) -> Played:
    # Page for page and frame for frame: what the trace says at its end is what these processes have now.
    played = Played(trace)
    frames, contents = truth(pids, first, n)
    order = {space: i for i, space in enumerate(spaces or range(len(pids)))}

    def here(pages: dict[Page, int | str] | dict[Page, int]) -> dict[Page, int | str]:
        return {(order[s], p): v for (s, p), v in pages.items() if s in order and first <= p < first + n}

    assert groups(here(played.frame)) == groups(frames)
    assert groups(here(played.content)) == groups(contents)
    prepared = make_walk(trace, 1 << 30)
    walk(prepared, 0, len(trace.events.kind))
    assert not prepared.state.odd.any()
    return played


@needs_numbers
def test_a_tree_of_forks_shares_frames_as_the_kernel_does(tmp_path: Path) -> None:
    with Child() as parent:
        _forking(parent)
        parent.do("[put(i, b'%d' % i) for i in range(40)]; region[50 * PAGE]")
        recording = Recording([parent], tmp_path / "t", follow=True)
        recording.looks()
        parent.do("fork()")
        recording.looks()
        parent.do("put(3, b'own'); put(41, b'new'); tell(0, \"put(4, b'childs')\")")
        parent.do("tell(0, \"put(5, b'5')\"); put(6, b'6')")  # copies of the same bytes
        recording.looks()
        # Two children and a grandchild between two looks, and what parent and children do in the meantime.
        with recording.between_looks():
            parent.do(
                "put(7, b'before'); fork(); fork(); put(8, b'after'); put(9, b'9'); tell(1, 'fork()'); "
                "tell(1, \"put(10, b'c1'); region.madvise(mmap.MADV_DONTNEED, 11 * PAGE, PAGE)\"); "
                "tell(2, \"put(12, b'12')\"); put(13, b'13'); tell(1, \"tell(1, 'put(14, bytes(4))')\") "
            )
        recording.looks()
        memory = recording.finish()
        one, two, three = children_of(parent.pid)
        [grandchild] = children_of(two)
        pids = [parent.pid, one, two, three, grandchild]
        at = [[space.pid for space in memory.trace.spaces].index(pid) for pid in pids]
        played = _check(memory.trace, pids, parent.first, spaces=at)
    assert len(memory.trace.spaces) == 5
    assert sorted(played.forks) == sorted([(0, at[1]), (0, at[2]), (0, at[3]), (at[2], at[4])])
    kinds = memory.trace.events.kind
    assert np.count_nonzero(kinds == Kind.TOUCH)
    assert np.count_nonzero(kinds == Kind.SHARE)  # page 8: both children have what the parent no longer has
    facts = recording.facts["sources"]
    assert [source.get("parent") for source in facts] == [None if i == 0 else facts[i]["parent"] for i in range(5)]


@needs_numbers
def test_reading_leaves_what_is_shared_shared() -> None:
    with Child() as parent:
        _forking(parent)
        parent.do("[put(i, b'%d' % i) for i in range(20)]; fork()")
        pids = [parent.pid, *children_of(parent.pid)]
        before = truth(pids, parent.first, REGION)
        for pid in pids:
            data, read = Reader().read(pid, parent.first + np.arange(20))
            assert read.all()
            assert data[7, :2].tobytes() == b"7\0"
        assert truth(pids, parent.first, REGION) == before
        assert all(len(group) == 2 for group in groups(before[0]))


@needs_numbers
def test_children_that_are_there_at_first_share_too(tmp_path: Path) -> None:
    with Child() as parent:
        _forking(parent)
        parent.do("[put(i, b'%d' % i) for i in range(20)]; fork(); put(1, b'1'); fork(); tell(0, \"put(2, b'x')\")")
        recording = Recording([parent], tmp_path / "t", follow=True)
        recording.looks()
        memory = recording.finish()
        _check(memory.trace, [parent.pid, *children_of(parent.pid)], parent.first)
    assert memory.trace.events.time_ns[memory.trace.events.kind == Kind.FORK].tolist() == [0, 0]


@needs_numbers
def test_processes_that_were_named_one_by_one_share_what_they_share(tmp_path: Path) -> None:
    with Child() as parent:
        _forking(parent)
        parent.do("[put(i, b'%d' % i) for i in range(20)]; fork(); tell(0, \"put(2, b'x')\")")
        [pid] = children_of(parent.pid)
        other = Child.__new__(Child)
        other.pid = pid
        recording = Recording([parent, other], tmp_path / "t")
        recording.looks()
        memory = recording.finish()
        played = _check(memory.trace, [parent.pid, pid], parent.first)
    assert not played.forks
    assert np.count_nonzero(memory.trace.events.kind == Kind.SHARE)


def test_advice_about_forks_and_the_end_of_a_child(tmp_path: Path) -> None:
    with Child() as parent:
        _forking(parent)
        parent.do("put(1, b'kept'); put(5, b'left'); put(6, b'wiped')")
        parent.do("region.madvise(10, 5 * PAGE, PAGE); region.madvise(18, 6 * PAGE, PAGE)")
        recording = Recording([parent], tmp_path / "t", follow=True)
        recording.looks()
        parent.do("fork()")
        recording.looks()
        [pid] = children_of(parent.pid)
        if os.geteuid() == 0:
            assert [page for _, page in truth([pid], parent.first, REGION)[0]] == [parent.first + 1]
        parent.do("tell(0, 'os._exit(0)'); os.wait()")
        recording.looks()
        memory = recording.finish()
    rows = [
        (Kind(kind), int(page - parent.first))
        for kind, space, page in zip(*(getattr(memory.trace.events, c) for c in ("kind", "space", "page")), strict=True)
        if space == 1
    ]
    assert rows[-1][0] == Kind.EXIT
    # A fork gives the child just that: no row says it again.
    assert [row for row in rows if 0 <= row[1] < REGION] == []


@needs_numbers
def test_another_program_in_a_child_begins_a_space_of_its_own(tmp_path: Path) -> None:
    with Child() as parent:
        recording = Recording([parent], tmp_path / "t", follow=True)
        recording.looks()
        parent.do("import subprocess; p = subprocess.Popen(['sleep', '100'], stdout=subprocess.DEVNULL)")
        recording.looks()
        memory = recording.finish()
        parent.do("p.kill(); p.wait()")
    assert [space.name for space in memory.trace.spaces][1:] == ["sleep"]
    of_child = memory.trace.events.kind[memory.trace.events.space == 1]
    assert of_child[0] == Kind.MAP
    assert Kind.FORK not in memory.trace.events.kind


@needs_numbers
def test_what_mremap_moved_is_a_move(tmp_path: Path) -> None:
    with Child() as child:
        child.do("grown = area(300, mmap.MADV_NOHUGEPAGE)")
        old = int(child.do("answer = where(grown)"))
        child.do("for i in range(0, 300, 2): grown[i * PAGE] = 1 + i // 2")
        child.do("libc = ctypes.CDLL(None); libc.mremap.restype = ctypes.c_void_p")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        new = int(
            child.do(
                "grown = libc.mremap(ctypes.c_void_p(where(grown) * PAGE), ctypes.c_size_t(300 * PAGE), "
                f"ctypes.c_size_t(800 * PAGE), 3, ctypes.c_void_p({old - 4096} * PAGE)); answer = grown // PAGE"
            )
        )
        child.do("ctypes.memset(grown + 301 * PAGE, 7, 9); ctypes.memset(grown + 4 * PAGE, 9, 9)")
        recording.looks()
        memory = recording.finish()
        played = _check(memory.trace, [child.pid], new, 800)
        assert not [page for space, page in played.frame if old <= page < old + 300]
    assert new == old - 4096
    assert played.moves == [(0, old, 300, new)]
    assert [kind for kind, _ in memory.kinds(new + 2)] == []  # it came with the rest


def _pages(numbers: list[int], pfn: list[int]) -> Pages:
    n = len(numbers)
    return Pages(np.array(numbers), np.full(n, PRESENT, np.uint8), np.zeros(n, np.bool_), np.array(pfn))


def _find(old: list[Mapping], before: Pages, new: list[Mapping], now: Pages, same: bool = True) -> list[Move]:
    return find_moves(old, before, new, now, lambda pages, rows: np.full(len(pages), same))


def test_moves_are_told_from_frames_that_were_given_back_and_taken_again() -> None:
    plain: frozenset[str] = frozenset()
    old, new = [Mapping(100, 110, plain, "")], [Mapping(200, 220, plain, "")]
    before = _pages([100, 103, 109], [7, 8, 9])
    assert _find(old, before, new, _pages([200, 203, 209, 215], [7, 8, 9, 4])) == [Move(100, 110, 200)]
    assert _find(old, before, new, _pages([200, 203, 209], [7, 8, 9]), same=False) == []  # other bytes
    assert _find(old, before, new, _pages([200, 201, 202], [7, 5, 4])) == []  # one of three
    assert _find(old, before, new, _pages([200, 203], [8, 8])) == []  # KSM's: many pages have it
    assert _find(old, before, [*old, *new], _pages([100, 203, 209], [7, 8, 9])) == []  # a page stayed
    # What is mapped there still, and of which nothing moved, stays: mappings that touch look like one.
    one = [Mapping(90, 110, plain, "")]
    assert _find(one, before, [Mapping(90, 100, plain, ""), *new], _pages([200, 203, 209], [7, 8, 9])) == [
        Move(100, 110, 200)
    ]
    near = [Mapping(104, 120, plain, "")]
    assert _find(old, before, near, _pages([104, 107, 113], [7, 8, 9])) == []  # mremap cannot
    # Two that follow each other go in the order in which the one makes room for the other.
    both = [Mapping(100, 110, plain, ""), Mapping(200, 210, plain, "")]
    there = [Mapping(200, 210, plain, ""), Mapping(300, 310, plain, "")]
    moved = _find(both, _pages([101, 201], [7, 8]), there, _pages([201, 301], [7, 8]))
    assert moved == [Move(200, 210, 300), Move(100, 110, 200)]
    swapped = _find(both, _pages([101, 201], [7, 8]), both, _pages([101, 201], [8, 7]))
    assert swapped == []


def test_mappings_are_cut_and_shifted() -> None:
    plain: frozenset[str] = frozenset()
    mappings = [Mapping(10, 20, plain, "a"), Mapping(20, 30, plain, "b")]
    assert [(m.start, m.end) for m in without(mappings, 15, 25)] == [(10, 15), (25, 30)]
    assert [(m.start, m.end) for m in without(mappings, 12, 14)] == [(10, 12), (14, 20), (20, 30)]
    assert [(m.start, m.end, m.name) for m in shifted(mappings, 15, 25, 100)] == [(115, 120, "a"), (120, 125, "b")]


@needs_numbers
def test_numbers_of_frames() -> None:
    with Child() as child:
        child.do("put(1, b'x'); put(2, b'x'); region[3 * PAGE]")
        pagemap = PageMap(child.pid)
        assert pagemap.sees_numbers
        pfn = pagemap.look(child.first, child.first + REGION).pfn
        assert len(set(pfn.tolist())) == 3
        assert pfn[2] == 0  # the zero page is nobody's
        assert pagemap.frames(child.first + np.array([0, 1, 2]))[1:].tolist() == pfn[:2].tolist()
        assert not pagemap.merged(pfn[:2]).any()
        pagemap.close()


def test_children_of_all_threads_are_found() -> None:
    script = (
        "import subprocess, sys, threading; from time import sleep\n"
        "threading.Thread(target=lambda: (print(subprocess.Popen(['sleep', '100']).pid, flush=True), sleep(100)), "
        "daemon=True).start(); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert children(process.pid) == [pid]
    assert not same_memory(pid, process.pid)
    os.kill(pid, 9)
    process.kill()
    process.communicate()
    assert children(process.pid) == []


def test_a_command_is_recorded_from_its_first_look_to_its_end(tmp_path: Path) -> None:
    script = "import os, time; a = bytearray(b'x' * 9999999); os.fork(); time.sleep(0.6)"
    words = ["-o", str(tmp_path / "t"), "--interval", "0.05", "--", sys.executable, "-c", script]
    result = CliRunner().invoke(capture, words)
    assert result.exit_code == 0, result.output
    trace = open_trace(tmp_path / "t")
    assert trace.manifest["capture"]["end"]["reason"] == "every process ended"
    kinds = trace.events.kind
    assert np.count_nonzero(kinds == Kind.FORK) == 1
    assert np.count_nonzero(kinds == Kind.EXIT) == 2
    assert trace.manifest["capture"]["children"] == 1


def test_a_command_that_still_runs_is_ended(tmp_path: Path) -> None:
    words = ["-o", str(tmp_path / "t"), "--duration", "0.3", "--", "sleep", "1000"]
    assert CliRunner().invoke(capture, words).exit_code == 0
    [space] = open_trace(tmp_path / "t").spaces
    assert space.name == "sleep"
    with pytest.raises(ProcessLookupError):
        os.kill(space.pid, 0)


def test_commands_that_cannot_be_recorded(tmp_path: Path) -> None:
    runner = CliRunner()
    for words in (["--"], ["--", str(tmp_path / "nothing")], ["--pid", "1", "--", "sleep", "1"], ["--qemu", "--", "x"]):
        assert runner.invoke(capture, ["-o", str(tmp_path / "t"), *words]).exception is not None
    assert list(tmp_path.iterdir()) == []
