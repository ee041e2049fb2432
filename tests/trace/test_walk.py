"""The walk behind `ksmbench info` agrees with dicts of pages on random events, and counts what is odd."""

import numpy as np
import pytest

from ksmbench.errors import TraceError
from ksmbench.trace import universe
from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.describe import describe
from ksmbench.trace.schema import Kind
from ksmbench.trace.walk import make_walk, walk
from ksmbench.trace.walk_verbs import MERGEABLE, PRIVATE, Odd

N_SPACES, N_CONTENTS, N_PAGES = 4, 6, 40
Row = tuple[int, int, int, int, int]  # kind, space, page, count, value


def frozen(values: list[int], dtype: type) -> np.ndarray:
    array = np.array(values, dtype)
    array.setflags(write=False)
    return array


def trace_of(rows: list[Row], names: tuple[str, ...] = (), n_spaces: int = N_SPACES) -> Trace:
    kind, space, page, count, value = zip(*rows, strict=True) if rows else ((),) * 5
    events = Events(
        frozen(list(range(len(rows))), np.int64),
        frozen([int(k) for k in kind], np.uint8),
        frozen(space, np.int32),
        frozen(page, np.int64),
        frozen(count, np.int64),
        frozen(value, np.int64),
        frozen([0] * len(rows), np.uint8),
        frozen([0 if names else -1] * len(rows), np.int32),
    )
    contents = Contents(frozen([0] * N_CONTENTS, np.uint16), frozen(list(range(N_CONTENTS)), np.uint32))
    spaces = tuple(Space(i, f"s{i}", "process") for i in range(n_spaces))
    return Trace({"format": "ksmbench-trace", "version": 1, "page_size": 4096}, spaces, events, contents, names)


class Naive:
    """Mappings and pages as dicts; a frame is a list whose first element is the content."""

    def __init__(self) -> None:
        self.maps: list[dict[int, set[str]]] = [{} for _ in range(N_SPACES)]
        self.pages: list[dict[int, list[int]]] = [{} for _ in range(N_SPACES)]
        self.merge_any = [0] * N_SPACES

    def users(self, frame: list[int]) -> int:
        return sum(other is frame for pages in self.pages for other in pages.values())

    def put(self, space: int, page: int, content: int) -> None:
        if "private" not in self.maps[space].get(page, ()):
            return
        frame = self.pages[space].get(page)
        if frame is not None and self.users(frame) == 1:
            frame[0] = content
        else:
            self.pages[space][page] = [content]

    def drop(self, space: int, pages: range) -> None:
        for page in pages:
            self.pages[space].pop(page, None)

    def unmap(self, space: int, pages: range) -> None:
        self.drop(space, pages)
        for page in pages:
            self.maps[space].pop(page, None)

    def apply(self, kind: int, space: int, page: int, count: int, value: int) -> None:
        pages = range(page, page + count)
        maps, held = self.maps[space], self.pages[space]
        if kind == Kind.WRITE:
            for at in pages:
                self.put(space, at, value)
        elif kind in (Kind.TOUCH, Kind.HUGE):
            for at in pages:
                self.put(space, at, held[at][0] if at in held else 0)
        elif kind == Kind.MAP:
            self.unmap(space, pages)
            for at in pages:
                maps[at] = {"never"} if value == 1 else {"private", "file"} if value == 2 else {"private"}
                if value != 1 and self.merge_any[space]:
                    maps[at].add("mergeable")
        elif kind == Kind.UNMAP:
            self.unmap(space, pages)
        elif kind == Kind.MADVISE:
            self.advise(space, [at for at in pages if at in maps], value)
        elif kind == Kind.SWAPOUT:
            self.drop(space, pages)
        elif kind == Kind.MOVE:
            self.move(space, pages, value)
        elif kind == Kind.FORK:
            self.fork(space, value)
        elif kind == Kind.SHARE:
            for at in pages:
                if at in self.pages[value] and "private" in maps.get(at, ()):
                    held[at] = self.pages[value][at]
        elif kind == Kind.PRCTL:
            for flags in maps.values():
                if value and not self.merge_any[space] and "private" in flags:
                    flags.add("mergeable")
                elif not value and self.merge_any[space]:
                    flags.discard("mergeable")
            self.merge_any[space] = value
        elif kind in (Kind.EXEC, Kind.EXIT):
            maps.clear()
            held.clear()

    def advise(self, space: int, pages: list[int], advice: int) -> None:
        words = {12: "mergeable", 13: "mergeable", 10: "dontfork", 11: "dontfork", 18: "wipe", 19: "wipe"}
        for at in pages:
            flags = self.maps[space][at]
            if advice == 4:
                self.pages[space].pop(at, None)
            elif advice == 18:
                flags |= {"wipe"} if flags & {"private", "file"} == {"private"} else set()
            elif advice in (12, 10) and (advice != 12 or "private" in flags):
                flags.add(words[advice])
            elif advice in (13, 11, 19):
                flags.discard(words[advice])

    def move(self, space: int, pages: range, target: int) -> None:
        if abs(pages.start - target) < len(pages) or not any(at in self.maps[space] for at in pages):
            return
        self.unmap(space, range(target, target + len(pages)))
        for at in pages:
            to = at - pages.start + target
            if at in self.maps[space]:
                self.maps[space][to] = self.maps[space].pop(at)
            if at in self.pages[space]:
                self.pages[space][to] = self.pages[space].pop(at)

    def fork(self, parent: int, child: int) -> None:
        self.merge_any[child] = self.merge_any[parent]
        for at, flags in self.maps[parent].items():
            if "dontfork" not in flags:
                self.maps[child][at] = set(flags)
                if at in self.pages[parent] and "wipe" not in flags:
                    self.pages[child][at] = self.pages[parent][at]


def random_rows(rng: np.random.Generator, n: int) -> list[Row]:
    rows: list[Row] = []
    kinds = (
        [Kind.MAP] * 3 + [Kind.WRITE] * 5 + [Kind.MADVISE] * 4 + [k for k in Kind if k not in (Kind.FORK, Kind.HUGE)]
    )
    living, unborn = [0, 1], [2, 3]
    for _ in range(n):
        kind = rng.choice(kinds + [Kind.FORK] * 2) if unborn else rng.choice(kinds)
        space = int(rng.choice(living))
        page, count = int(rng.integers(0, N_PAGES)), int(rng.integers(1, 16))
        value = int(rng.integers(0, N_CONTENTS))
        if kind == Kind.MAP:
            value = int(rng.integers(0, 3))
        elif kind == Kind.MADVISE:
            value = int(rng.choice([4, 10, 11, 12, 12, 13, 14, 18, 19, 99]))
        elif kind == Kind.MOVE:
            value = int(rng.integers(0, N_PAGES))
        elif kind == Kind.FORK:
            value = unborn.pop()
            living.append(value)
        elif kind == Kind.SHARE:
            value = int(rng.choice(living))
        elif kind == Kind.PRCTL:
            value = int(rng.integers(0, 2))
        elif kind == Kind.EXIT:
            if len(living) == 1 or rng.random() < 0.8:
                continue
            living.remove(space)
        rows.append((kind, space, page, count, value))
    return rows


@pytest.mark.parametrize("seed", range(60))
def test_the_walk_agrees_with_dicts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, int(rng.integers(1, 60)))
    trace = trace_of(rows)
    prepared = make_walk(trace, 1 << 30)
    naive = Naive()
    for i, row in enumerate(rows):
        walk(prepared, i, i + 1)
        naive.apply(*row)
        state, begin = prepared.state, prepared.script.begin
        for space in range(N_SPACES):
            frame = state.frame[begin[space] : begin[space + 1]]
            held = [frame for _, frame in sorted(naive.pages[space].items())]
            assert state.content[frame[frame >= 0]].tolist() == [frame[0] for frame in held], rows[: i + 1]
            assert state.mapcount[frame[frame >= 0]].tolist() == [naive.users(frame) for frame in held]
            mergeable = [at for at in naive.pages[space] if "mergeable" in naive.maps[space][at]]
            flags = state.flags[begin[space] : begin[space + 1]]
            assert np.count_nonzero((frame >= 0) & (flags & MERGEABLE != 0)) == len(mergeable)
            assert np.any(flags & PRIVATE) == any("private" in f for f in naive.maps[space].values())
    n_frames = len({id(frame) for pages in naive.pages for frame in pages.values()})
    assert describe(trace)["memory"]["end"]["frames"] == n_frames == np.count_nonzero(prepared.state.mapcount)


def test_child_and_moved_mapping_take_pages_their_source_never_held() -> None:
    rows = [
        (Kind.MAP, 0, 0, 100, 0),
        (Kind.WRITE, 0, 0, 1, 1),
        (Kind.FORK, 0, 0, 0, 2),
        (Kind.WRITE, 2, 50, 2, 1),
        (Kind.MOVE, 0, 0, 100, 1000),
        (Kind.WRITE, 0, 1050, 5, 1),
        (Kind.WRITE, 0, 50, 1, 1),
    ]
    facts = describe(trace_of(rows))
    assert facts["memory"]["end"]["pages"] == 1 + 1 + 2 + 5
    assert facts["memory"]["end"]["frames"] == 8
    assert facts["oddities"]["writes_outside"] == 1


def test_duplicates_and_the_oracle() -> None:
    rows = [
        (Kind.MAP, 0, 0, 10, 0),
        (Kind.MADVISE, 0, 0, 10, 12),
        (Kind.WRITE, 0, 0, 3, 1),  # twice more than once
        (Kind.WRITE, 0, 3, 1, 2),
        (Kind.TOUCH, 0, 4, 2, 0),  # zero-filled
        (Kind.MAP, 1, 0, 10, 0),
        (Kind.WRITE, 1, 0, 2, 1),
        (Kind.WRITE, 1, 2, 1, 3),
    ]
    end = describe(trace_of(rows))["memory"]["end"]
    assert end == {
        "pages": 9,
        "frames": 9,
        "mergeable_pages": 6,
        "zero_pages": 2,
        "distinct_contents": 3,
        "duplicates_within": 3,
        "duplicates_across": 1,
        "oracle_saved_pages": 4,
        "oracle_saved_pages_if_all_mergeable": 6,
    }
    # A frame that mergeable and other memory both map can hold the content for the mergeable ones.
    rows = [(Kind.MAP, 0, 0, 2, 0), (Kind.WRITE, 0, 0, 2, 1), (Kind.FORK, 0, 0, 0, 2), (Kind.MADVISE, 2, 0, 2, 12)]
    end = describe(trace_of(rows))["memory"]["end"]
    assert (end["pages"], end["frames"], end["oracle_saved_pages"]) == (4, 2, 0)
    assert end["oracle_saved_pages_if_all_mergeable"] == 1


def test_what_is_odd_is_counted() -> None:
    rows = [
        (Kind.WRITE, 0, 5, 1, 1),
        (Kind.TOUCH, 0, 5, 1, 0),
        (Kind.UNMAP, 0, 5, 1, 0),
        (Kind.MADVISE, 0, 5, 1, 12),
        (Kind.MOVE, 0, 5, 1, 9),
        (Kind.READ, 0, 5, 1, 0),
        (Kind.MAP, 0, 0, 600, 0),
        (Kind.READ, 0, 5, 1, 0),
        (Kind.MAP, 0, 100, 10, 1),
        (Kind.WRITE, 0, 100, 1, 1),
        (Kind.MAP, 0, 200, 10, 2),
        (Kind.READ, 0, 203, 2, 0),
        (Kind.MADVISE, 0, 0, 10, 99),
        (Kind.MOVE, 0, 0, 10, 5),
        (Kind.SHARE, 0, 0, 10, 1),
        (Kind.SWAPOUT, 0, 0, 10, 0),
        (Kind.MIGRATE, 0, 0, 10, 1),
        (Kind.HUGE, 0, 0, 512, 0),
        (Kind.TUNE, 0, 0, 0, 7),
    ]
    facts = describe(trace_of(rows, names=("warp",)))
    expected = {kind.name.lower(): 1 for kind in Odd} | {"writes_outside": 2, "tunes_of_unknown_settings": 1}
    assert facts["oddities"] == expected | {"spaces_without_events": 3}


def test_what_is_enormous_but_valid_is_walked_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = 1 << 51
    rows = [
        (Kind.MAP, 0, 0, wide, 0),
        (Kind.READ, 0, 0, wide, 0),
        (Kind.MADVISE, 0, 0, wide, 12),
        (Kind.FORK, 0, 0, 0, 2),
        (Kind.MOVE, 0, 0, wide, wide),
        (Kind.WRITE, 2, wide - 5, 3, 1),
    ]
    assert describe(trace_of(rows))["memory"]["end"]["mergeable_pages"] == 3
    with pytest.raises(TraceError, match=r"1,099,511,627,776 pages.* \[E09\]$"):
        make_walk(trace_of([(Kind.WRITE, 0, 0, 1 << 40, 1)]), 1 << 34)
    monkeypatch.setattr(universe, "_MAX_INTERVALS", 1 << 16)
    # Each move doubles what the pages before it touched.
    doubling = [(Kind.WRITE, 0, 0, 1, 1)] + [(Kind.MOVE, 0, 0, 2 << i, 3 << i) for i in range(40)]
    with pytest.raises(TraceError, match="E09"):
        make_walk(trace_of(doubling), 1 << 30)


def test_no_spaces_and_no_events() -> None:
    assert describe(trace_of([], n_spaces=0))["memory"]["end"]["pages"] == 0
    assert describe(trace_of([(Kind.MARK, 0, 0, 0, 0)], n_spaces=0))["events"] == 1
    assert universe.find_universe(trace_of([]).events, 2).size.tolist() == [0, 0]
