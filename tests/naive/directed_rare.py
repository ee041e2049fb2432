"""Directed scenarios for the rare: merged frames in mappings that are not mergeable, prctl, exec, share, swapout."""

from collections.abc import Iterator

from ksmbench.trace.schema import Advice, Kind, Mapping
from tests.naive.directed import Scenario, Script

_STORED = (("run", 2), ("run", 1))


def _upgraded(keep: tuple[int, ...]) -> Script:
    """Space 0 is not mergeable, its child is, whose merges turn frames of both into KSM's; all but `keep` rewritten."""
    s = Script()
    s.area(0, 4, 200)
    s.write(0, 200, 30)
    s.add(Kind.MAP, 0, 0, 32)
    for k in range(8):
        s.write(0, 4 * k, 3 + 2 * k, 4)
    s.wait(1)
    s.fork(0, 1)
    s.add(Kind.MADVISE, 1, 0, 32, Advice.MERGEABLE)
    s.wait(6)
    for page in range(32):
        if page not in keep:
            s.write(0, page, 35)
    s.wait(2)
    return s


def _leftovers() -> Iterator[Scenario]:
    for keep in ((), (2, 3), (7, 13, 22), (1, 5, 6, 7, 17, 30), tuple(range(32))):
        s = _upgraded(keep)
        for name, value in _STORED:
            s.tune(name, value)
            s.wait(1)
        s.write(0, 200, 7, 4)
        s.wait(4)
        yield s.end(f"nodes that are mapped after run=2, {keep}", max_page_sharing=2)
        s = _upgraded(keep)
        s.add(Kind.MADVISE, 1, 0, 32, Advice.UNMERGEABLE)
        s.wait(2)
        s.tune("max_page_sharing", 3)
        s.wait(3)
        s.write(0, 200, 7, 4)
        s.area(1, 32)
        s.wait(5)
        yield s.end(f"max_page_sharing is refused while a node is mapped, {keep}", max_page_sharing=2)
        s = _upgraded(keep)
        s.add(Kind.MOVE, 0, 0, 32, 300)
        s.wait(2)
        s.add(Kind.MADVISE, 0, 300, 32, Advice.MERGEABLE)
        s.wait(4)
        yield s.end(f"a merged frame moves with its mapping, {keep}", max_page_sharing=2)


def _settings_of_spaces() -> Iterator[Scenario]:
    for kind in (Mapping.ANONYMOUS, Mapping.NEVER, Mapping.FILE):
        s = Script()
        s.area(1, 4, 100)
        s.add(Kind.MAP, 0, 0, 8, kind)
        s.write(0, 0, 3, 4)
        s.add(Kind.MADVISE, 0, 0, 8, Advice.WIPEONFORK)
        s.add(Kind.PRCTL, 0, value=1)
        s.wait(4)
        s.fork(0, 2)
        s.wait(3)
        s.add(Kind.MADVISE, 0, 0, 8, Advice.UNMERGEABLE)
        s.add(Kind.PRCTL, 0, value=1)
        s.wait(4)
        s.add(Kind.MAP, 0, 50, 4, kind)
        s.write(0, 50, 3, 4)
        s.wait(4)
        s.add(Kind.MOVE, 0, 0, 8, 48)
        s.wait(3)
        s.add(Kind.EXEC, 0)
        s.wait(2)
        s.add(Kind.MAP, 0, 50, 4, kind)
        s.write(0, 50, 3, 4)
        s.add(Kind.SHARE, 0, 50, 4, 2)
        s.add(Kind.SHARE, 2, 50, 4, 0)
        s.add(Kind.SWAPOUT, 2, 0, 2)
        s.wait(4)
        s.add(Kind.PRCTL, 2, value=0)
        s.wait(4)
        yield s.end(f"prctl, exec, share, swapout; mapping of kind {int(kind)}")


def directed_rare() -> list[Scenario]:
    """Name, trace and settings of each."""
    return [*_leftovers(), *_settings_of_spaces()]
