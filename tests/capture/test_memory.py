"""What a capture says of a child's memory is exactly what the child has."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ksmbench.capture.pagemap import PRESENT, SWAPPED, ZERO, PageMap, Pages
from ksmbench.capture.procfs import merges_any
from ksmbench.capture.reading import Reader, differing
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import Kind
from tests.capture.child import PAGE, REGION, Child, Recording, ksm_lock

_CONTENTS = [
    b"b",
    b"a",
    b"b",
    b"",
    b"a" * 100 + b"z",
    b"a" * 100 + b"y",
    b"\xff" * 4000,
    b"a" * 4095 + b"c",
    b"a" * 4096,
]


def _prefix(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


def _put(child: Child, contents: dict[int, bytes]) -> None:
    for page, content in contents.items():
        child.do(f"put({page}, {content!r})")


def test_contents_are_ranked_by_their_bytes(tmp_path: Path) -> None:
    with Child() as child:
        _put(child, dict(enumerate(_CONTENTS)))
        memory = Recording([child], tmp_path / "t").finish()
    pages = memory.of(child)
    assert sorted(pages) == list(range(len(_CONTENTS)))
    whole = [content.ljust(PAGE, b"\0") for content in _CONTENTS]
    lcp = memory.trace.contents.lcp
    for i, a in enumerate(whole):
        assert (pages[i] == 0) == (a == bytes(PAGE))
        for k, b in enumerate(whole):
            assert (pages[i] < pages[k]) == (a < b)
            if a < b:
                assert lcp[pages[i] + 1 : pages[k] + 1].min() == _prefix(a, b)
    values = np.array([pages[i] for i in range(len(whole))])
    checksum = memory.trace.contents.checksum[values]
    assert checksum[0] == checksum[2]
    assert len(set(checksum.tolist())) == len(set(whole))


def test_absent_zero_and_present_pages_stay_what_they_are(tmp_path: Path) -> None:
    with Child() as child:
        child.do("put(3, b'x'); put(4, b'')")
        child.do("region[7 * PAGE]; region[8 * PAGE]")
        recording = Recording([child], tmp_path / "t")
        recording.looks(5)
        pagemap = PageMap(child.pid)
        there = pagemap.look(child.first, child.first + REGION)
        pagemap.close()
        pages = recording.finish().of(child)
    assert (there.page - child.first).tolist() == [3, 4, 7, 8]  # looking at it made nothing present
    if os.geteuid() == 0:  # only root sees which frame is the zero page, where PAGEMAP_SCAN is missing
        assert there.state.tolist() == [PRESENT, PRESENT, ZERO, ZERO]
        assert pages == {3: pages[3], 4: 0, 7: "zero", 8: "zero"}
    assert pages[3] != 0


def test_changes_are_seen_as_what_they_are(tmp_path: Path) -> None:
    with Child() as child:
        child.do("put(1, b'one'); put(2, b'two'); put(3, b'three'); put(4, b'four'); put(9, b'')")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        child.do("put(1, b'uno'); put(5, b'five'); put(6, b'five'); region.madvise(mmap.MADV_DONTNEED, 2 * PAGE, PAGE)")
        child.do("region.madvise(mmap.MADV_DONTNEED, 9 * PAGE, PAGE); region[9 * PAGE]")
        recording.looks()
        child.do("put(2, b'two'); put(3, b''); put(9, b'nine')")
        recording.looks()
        memory = recording.finish()
    at = child.first
    pages = memory.of(child)
    assert sorted(pages) == [1, 2, 3, 4, 5, 6, 9]
    assert pages[5] == pages[6]
    assert pages[3] == 0
    assert pages[9] != 0
    assert [kind for kind, _ in memory.kinds(at + 2)][-3:] == [Kind.WRITE, Kind.MADVISE, Kind.WRITE]
    assert memory.kinds(at + 2)[-2] == (Kind.MADVISE, 4)
    # A frame of zeros that was dropped and read again is the zero page, not a frame.
    assert [kind for kind, _ in memory.kinds(at + 9)][-4:] == [Kind.WRITE, Kind.MADVISE, Kind.READ, Kind.WRITE]
    assert [kind for kind, _ in memory.kinds(at + 4)].count(Kind.WRITE) == 1
    assert (Kind.WRITE, at + 5, 2, pages[5]) in memory.rows  # neighbours of one content are one row


def test_mappings_and_advice(tmp_path: Path) -> None:
    with ksm_lock(), Child() as child:
        child.do("region.madvise(mmap.MADV_MERGEABLE)")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        new = int(child.do("other = area(4096, mmap.MADV_NOHUGEPAGE); answer = where(other); other[5 * PAGE] = 7"))
        recording.looks()
        child.do("other.madvise(mmap.MADV_MERGEABLE, 0, 8 * PAGE); region.madvise(mmap.MADV_UNMERGEABLE)")
        recording.looks()
        child.do("other.close()")
        recording.looks()
        memory = recording.finish()
    assert (Kind.MADVISE, 12) in memory.kinds(child.first)
    assert (Kind.MADVISE, 15) in memory.kinds(child.first)
    assert memory.kinds(child.first)[-1] == (Kind.MADVISE, 13)
    kinds = memory.kinds(new + 5)
    assert [kind for kind, _ in kinds] == [Kind.MAP, Kind.MADVISE, Kind.WRITE, Kind.MADVISE, Kind.UNMAP]
    assert [value for kind, value in kinds if kind == Kind.MADVISE] == [15, 12]
    assert (Kind.MADVISE, 12) not in memory.kinds(new + 8)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="the huge zero page is told from a huge frame by /proc/kpageflags: needs root"
)
def test_huge_frames_and_the_huge_zero_page(tmp_path: Path) -> None:
    with Child() as child:
        child.do("big = area(2048, mmap.MADV_HUGEPAGE)")
        start = -(-int(child.do("answer = where(big)")) // 512) * 512
        child.do(f"base = ({start} - where(big)) * PAGE; big[base + 5] = 1; big[base + 512 * PAGE]")
        pagemap = PageMap(child.pid)
        huge = pagemap.look(start, start + 512).huge
        has_scan = pagemap.has_scan
        zero = pagemap.look(start + 512, start + 1024)
        pagemap.close()
        if not has_scan or not huge.all() or len(zero.page) != 512:
            pytest.skip("this kernel gives no huge frames, or does not tell of them")
        memory = Recording([child], tmp_path / "t").finish()
    assert (Kind.HUGE, start, 512, 0) in memory.rows
    assert memory.pages[start + 1] == 0
    assert memory.pages[start] not in (0, "zero")
    assert {memory.pages[start + 512 + i] for i in range(512)} == {"zero"}
    assert (Kind.HUGE, 0) not in memory.kinds(start + 512)


def test_pagemap_tells_what_a_scan_tells() -> None:
    with Child() as child:
        child.do("put(3, b'x'); put(4, b''); region[7 * PAGE]")
        pagemap = PageMap(child.pid)
        if not pagemap.has_scan:
            pytest.skip("this kernel lacks PAGEMAP_SCAN")
        scanned = pagemap.look(child.first, child.first + REGION)
        pagemap.has_scan = False
        read = pagemap.look(child.first, child.first + REGION)
        pagemap.close()
    assert read.page.tolist() == scanned.page.tolist()
    if os.geteuid() == 0:
        assert read.state.tolist() == scanned.state.tolist() == [PRESENT, PRESENT, ZERO]


def test_a_page_that_is_swapped_out_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = PageMap.look
    swapped: set[int] = set()

    def with_swap(self: PageMap, start: int, end: int) -> Pages:
        pages = look(self, start, end)
        pages.state[np.isin(pages.page, list(swapped))] = SWAPPED
        return pages

    monkeypatch.setattr(PageMap, "look", with_swap)
    with Child() as child:
        child.do("put(1, b'stays'); put(2, b'never seen')")
        swapped.add(child.first + 2)
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        swapped.add(child.first + 1)
        recording.looks()
        swapped.clear()
        recording.looks()
        memory = recording.finish()
    kinds = [kind for kind, _ in memory.kinds(child.first + 1) if kind in (Kind.WRITE, Kind.SWAPOUT)]
    assert kinds == [Kind.WRITE, Kind.SWAPOUT, Kind.WRITE]
    assert [kind for kind, _ in memory.kinds(child.first + 2)][-1] == Kind.WRITE
    assert recording.facts["pages_swapped_unseen"] == 1
    assert memory.of(child)[1] != memory.of(child)[2] != 0


def test_a_page_that_went_while_it_was_read_stays_as_it_was_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Reader.read
    gone: set[int] = set()

    def without_some(self: Reader, pid: int, pages: npt.NDArray[np.int64]) -> tuple[Any, Any]:
        data, there = read(self, pid, pages)
        return data, there & ~np.isin(pages, list(gone))

    monkeypatch.setattr(Reader, "read", without_some)
    with Child() as child:
        child.do("put(1, b'one'); put(2, b'two')")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        gone.update((child.first + 1, child.first + 3))
        child.do("put(3, b'new')")
        recording.looks()
        gone.clear()
        recording.looks()
        memory = recording.finish()
    for page in (1, 2, 3):
        assert [kind for kind, _ in memory.kinds(child.first + page)].count(Kind.WRITE) == 1
        assert (Kind.MADVISE, 4) not in memory.kinds(child.first + page)


def test_another_program_in_the_process(tmp_path: Path) -> None:
    with Child() as child:
        child.do("put(1, b'old')")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        child.first = int(child.do("import os; os.execv(sys.executable, sys.orig_argv)"))
        child.do("put(5, b'new')")
        recording.looks()
        memory = recording.finish()
    kinds = [row[0] for row in memory.rows]
    assert kinds.count(Kind.EXEC) == 1
    assert Kind.MAP in kinds[kinds.index(Kind.EXEC) :]
    assert sorted(memory.of(child)) == [5]


def test_merging_asked_for_by_prctl(tmp_path: Path) -> None:
    with ksm_lock(), Child() as child:
        if child.do("answer = ctypes.CDLL(None).prctl(67, 1, 0, 0, 0)") != "0" or not merges_any(child.pid):
            pytest.skip("this kernel lacks PR_SET_MEMORY_MERGE, or does not tell who set it")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        child.do("ctypes.CDLL(None).prctl(67, 0, 0, 0, 0)")
        recording.looks()
        memory = recording.finish()
    assert [(kind, value) for kind, _, _, value in memory.rows if kind == Kind.PRCTL] == [
        (Kind.PRCTL, 1),
        (Kind.PRCTL, 0),
    ]
    assert memory.rows[0][0] == Kind.PRCTL


def test_a_zero_page_that_ksm_put_there_is_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, int | str] = {"run": 1, "use_zero_pages": 1}
    monkeypatch.setattr("ksmbench.capture.session.ksm_settings", lambda: dict(found))
    monkeypatch.setattr("ksmbench.capture.host.ksm_settings", lambda: dict(found))
    monkeypatch.setattr("tests.capture.child.CALLS", "none")  # which would tell that it was not KSM
    with ksm_lock(), Child() as child:
        child.do("region.madvise(mmap.MADV_MERGEABLE, 0, 4 * PAGE); put(1, b''); put(9, b'')")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        # From outside, that is what KSM's own doing looks like.
        child.do("[region.madvise(mmap.MADV_DONTNEED, k * PAGE, PAGE) or region[k * PAGE] for k in (1, 9)]")
        recording.looks()
        found["use_zero_pages"] = 0
        child.do("put(1, b'')")  # and that is how it looks when KSM undoes it
        recording.looks()
        memory = recording.finish()
    assert memory.of(child)[1] == 0
    assert [kind for kind, _ in memory.kinds(child.first + 1)].count(Kind.WRITE) == 1
    if os.geteuid() == 0:
        assert memory.of(child)[9] == "zero"


def test_pages_of_a_mapping_that_forbids_reading_are_recorded(tmp_path: Path) -> None:
    with Child() as child:
        child.do("put(1, b'one'); put(2, b'two'); put(5, b'five')")
        if (
            child.do("answer = ctypes.CDLL(None).mprotect(ctypes.c_void_p((where(region) + 1) * PAGE), 2 * PAGE, 0)")
            != "0"
        ):
            pytest.skip("memory cannot be protected here")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        pages = recording.finish().of(child)
    assert sorted(pages) == [1, 2, 5]
    assert len({pages[1], pages[2], pages[5], 0}) == 4


def test_changes_are_found_by_bytes_in_memory_and_by_hashes_on_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pages = rng.integers(0, 256, (40, PAGE), np.uint8)
    pages[7] = 0
    changed = pages.copy()
    changed[[3, 39], [0, PAGE - 1]] ^= 1
    for memory in (PAGE, 1 << 20):
        with ContentStore(PAGE, memory_bytes=memory, folder=tmp_path) as store:
            ids = store.add(pages)
            assert store.on_disk == (memory == PAGE)
            ids[5] = -1
            assert np.flatnonzero(differing(changed, store, ids)).tolist() == [3, 5, 39]
