"""Which mappings are recorded, and as what; which of the pages of a file's mapping are the process's own."""

from pathlib import Path

import ksmbench
from ksmbench.capture.pagemap import PageMap
from ksmbench.trace.schema import Advice, Kind
from ksmbench.trace.schema import Mapping as MappingKind
from tests.capture.child import PAGE, Child, Memory, Recording, ksm_lock

_FILE_PAGES = 8


def _maps_a_file(child: Child, path: Path) -> int:
    # Page 2 is written, page 5 only read; both are there.
    path.write_bytes(bytes(range(1, 1 + _FILE_PAGES)) * PAGE)
    statement = (
        f"f = open({str(path)!r}, 'r+b'); file = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE); "
        "file[2 * PAGE] = 77; file[5 * PAGE]; answer = where(file)"
    )
    return int(child.do(statement))


def _mapped(memory: Memory, page: int) -> tuple[int, str] | None:
    # Value and name of what is mapped at a page at the end.
    events = memory.trace.events
    result = None
    for i, kind in enumerate(events.kind):
        if events.page[i] <= page < events.page[i] + events.n_pages[i]:
            if kind == Kind.MAP:
                result = int(events.value[i]), memory.trace.names[events.name[i]] if events.name[i] >= 0 else ""
            elif kind == Kind.UNMAP:
                result = None
    return result


def test_written_pages_of_a_private_file_mapping_are_recorded(tmp_path: Path) -> None:
    with Child() as child:
        first = _maps_a_file(child, tmp_path / "file")
        recording = Recording([child], tmp_path / "t")
        recording.looks()
        child.do("file[3 * PAGE] = 78")
        recording.looks()
        memory = recording.finish()
        pagemap = PageMap(child.pid)
        assert pagemap.look(first, first + _FILE_PAGES).page.tolist() == [first + 2, first + 3]
        pagemap.has_scan = False
        assert pagemap.look(first, first + _FILE_PAGES).page.tolist() == [first + 2, first + 3]
        pagemap.close()
    assert _mapped(memory, first) == (MappingKind.FILE, str(tmp_path / "file"))
    assert sorted(page - first for page in memory.pages if first <= page < first + _FILE_PAGES) == [2, 3]
    assert memory.pages[first + 2] != memory.pages[first + 3]
    result = ksmbench.replay(memory.trace, mergeable="all", cost="none", sample="end")
    assert result.samples["pages_anon"][-1] >= 2


def test_all_tells_of_what_is_never_merged(tmp_path: Path) -> None:
    with Child() as child:
        shared = int(child.do("s = mmap.mmap(-1, 4 * PAGE); s[0] = 1; answer = where(s)"))
        assert _mapped(Recording([child], tmp_path / "some").finish(), shared) is None
        memory = Recording([child], tmp_path / "all", selection="all").finish()
    assert _mapped(memory, shared) == (MappingKind.NEVER, "/dev/zero (deleted)")
    assert shared not in memory.pages
    assert "vdso" in memory.trace.names
    assert child.first in {page for kind, page, _, _ in memory.rows if kind == Kind.MAP}
    assert memory.trace.manifest["capture"]["selection"] == "all"
    replayed = ksmbench.replay(memory.trace, mergeable="all", cost="none", sample="end")
    assert replayed.samples["pages_anon"][-1] == sum(content != "zero" for content in memory.pages.values())


def test_mergeable_takes_what_asked_for_it(tmp_path: Path) -> None:
    with ksm_lock(), Child() as child:
        asked = int(child.do("a = area(4, 12); a[0] = 1; a[PAGE] = 2; answer = where(a)"))
        later = int(child.do("b = area(4, mmap.MADV_NOHUGEPAGE); b[0] = 3; answer = where(b)"))
        recording = Recording([child], tmp_path / "t", selection="mergeable")
        recording.looks()
        assert {page for page in Memory(tmp_path / "t").pages} == {asked, asked + 1}
        child.do("b.madvise(12)")
        recording.looks()
        memory = recording.finish()
    assert set(memory.pages) == {asked, asked + 1, later}
    advised = [page for kind, page, _, value in memory.rows if kind == Kind.MADVISE and value == Advice.MERGEABLE]
    assert advised == [asked, later]
    assert any("not mergeable" in line for line in memory.trace.manifest["capture"]["not_tracked"])
