"""What a capture says of a child's memory is exactly what the child has."""

import os
from pathlib import Path

import numpy as np
import pytest

from ksmbench.capture.pagemap import PRESENT, ZERO, PageMap
from ksmbench.trace.schema import Kind
from tests.capture.child import PAGE, REGION, Child, Recording

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
    with Child() as child:
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
