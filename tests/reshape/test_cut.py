"""A cut holds at every moment what the whole holds, in the spaces that it keeps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ksmbench.replaying import replay
from ksmbench.reshape.cut import BEGINS, ENDS, Cut, cut
from ksmbench.trace.columns import Contents, Trace
from ksmbench.trace.schema import HUGE_PAGES, Kind
from ksmbench.trace.store import open_trace, write_trace
from tests.commands.running import assert_one_line_mistake, run
from tests.kernel.scenarios import make_contents, make_trace
from tests.naive.scenarios import wild_scenario
from tests.naive.wild_huge import wild_huge_scenario
from tests.reshape.holding import Held, Player


def _with_content(held: Held, contents: dict[int, int]) -> Held:
    pages = {place: (contents[c], node, users) for place, (c, node, users) in held.pages.items()}
    return Held(pages, held.areas, held.merges_any)


def assert_holds_alike(whole: Trace, made: Cut, from_ns: int, until_ns: int) -> None:
    """The state after every instant of the window; contents by their old numbers."""
    numbers = {space: number for number, space in enumerate(made.spaces)}
    old = dict(enumerate(made.used.tolist()))
    one, other = Player(whole), Player(made.trace)
    times = whole.events.time_ns
    for time in np.unique(times[(times >= from_ns) & (times <= until_ns)]).tolist():
        one.play_until(time)
        other.play_until(time - from_ns)
        mine = other.held({number: number for number in numbers.values()})
        expected = one.held(numbers)
        # A space that a left-out one forks later is there from the start, empty.
        mine.merges_any = {s: on for s, on in mine.merges_any.items() if s in expected.merges_any or on}
        mine = _with_content(mine, old)
        assert mine.areas == expected.areas
        assert mine.pages == expected.pages
        assert mine.merges_any == expected.merges_any


def written(trace: Trace, folder: Path) -> Trace:
    """The trace as a reader finds it, which checks every rule."""
    write_trace(trace, folder)
    return open_trace(folder)


def valid(trace: Trace) -> Trace:
    """Without shares with spaces that are not alive, and with huge on whole blocks: readers refuse those."""
    events = trace.events
    rows = np.arange(len(events.kind))
    born, died = np.full(len(trace.spaces), -1), np.full(len(trace.spaces), len(rows))
    forks, exits, shares = (events.kind == kind for kind in (Kind.FORK, Kind.EXIT, Kind.SHARE))
    born[events.value[forks]] = rows[forks]
    died[events.space[exits]] = rows[exits]
    other = np.where(shares, events.value, 0)
    good = ~shares | ((rows > born[other]) & (rows < died[other]))
    good &= (events.kind != Kind.HUGE) | ((events.page % HUGE_PAGES == 0) & (events.n_pages % HUGE_PAGES == 0))
    return replace(trace, events=type(events)(*(column[good] for column in events)))


def _try(scenario: Callable[[int], Trace], seed: int, folder: Path, *, spaces: bool) -> None:
    rng = np.random.default_rng([seed, 5])
    whole = valid(scenario(seed))
    first, last = int(whole.events.time_ns[0]), int(whole.events.time_ns[-1])
    from_ns, until_ns = sorted(rng.integers(first, last + 1, 2).tolist())
    player = Player(whole)
    player.play_until(until_ns)
    alive = list(player.memory.mms)
    if spaces and alive:
        chosen = rng.choice(alive, int(rng.integers(1, len(alive) + 1)), replace=False).tolist()
        names = tuple(whole.spaces[space].name for space in chosen)
    else:
        names = ()
    if not alive:
        return
    made = cut(whole, from_s=from_ns / 1e9, until_s=until_ns / 1e9, spaces=names)
    made = replace(made, trace=written(made.trace, folder / f"{seed}-{len(names)}"))
    assert_holds_alike(whole, made, from_ns, until_ns)


def _wild(seed: int) -> Trace:
    return wild_scenario(seed)[0]


def _wild_huge(seed: int) -> Trace:
    return wild_huge_scenario(seed)[0]


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_wild_windows(start: int, tmp_path: Path) -> None:
    for seed in range(start, start + 10):
        _try(_wild, seed, tmp_path, spaces=False)
        _try(_wild, seed, tmp_path, spaces=True)


@pytest.mark.parametrize("seed", range(6))
def test_wild_windows_with_huge_frames(seed: int, tmp_path: Path) -> None:
    _try(_wild_huge, seed, tmp_path, spaces=False)
    _try(_wild_huge, seed, tmp_path, spaces=True)


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_of_everything_replays_alike(seed: int) -> None:
    """ksmd finds, compares and merges the same, as contents that nobody writes mean nothing."""
    whole, settings = wild_scenario(seed)
    whole = valid(whole)
    made = cut(whole)
    one, other = (replay(trace, "ksm-6.18", sample="batch", cost="none", **settings) for trace in (whole, made.trace))
    assert one.samples.drop("time_ns").equals(other.samples.drop("time_ns"))


def test_contents_are_ranked_anew() -> None:
    """What two contents have in common is the least of what lay between them."""
    contents = Contents(np.array([0, 7, 3, 9, 5], np.uint16), np.array([4, 0, 4, 2, 1], np.uint32))
    rows = [(0, Kind.MAP, 0, 10, 5, 0), (0, Kind.WRITE, 0, 10, 1, 1), (5, Kind.WRITE, 0, 11, 1, 4)]
    made = cut(make_trace(rows, contents))
    assert made.used.tolist() == [0, 1, 4]
    assert made.trace.contents.lcp.tolist() == [0, 7, 3]
    assert made.trace.contents.checksum.tolist() == [4, 0, 1]


def test_settings_names_and_marks() -> None:
    """The stores before the window stand at its beginning, mappings keep names, and the window has its length."""
    contents = make_contents(np.random.default_rng(1), 4)
    rows = [
        (0, Kind.TUNE, 0, 0, 0, 50),
        (0, Kind.MAP, 0, 100, 8, 0),
        (0, Kind.MADVISE, 0, 100, 8, 14),
        (1_000, Kind.TUNE, 0, 0, 0, 70),
        (2_000, Kind.WRITE, 0, 101, 1, 2),
        (9_000, Kind.WRITE, 0, 102, 1, 3),
    ]
    whole = make_trace(rows, contents, ("pages_to_scan", "heap"), {0: 0, 1: 1, 3: 0})
    trace = cut(whole, from_s=2e-6, until_s=8e-6).trace
    events = trace.events
    named = [trace.names[i] if i >= 0 else "" for i in events.name.tolist()]
    shown = [*zip(events.time_ns.tolist(), events.kind.tolist(), events.value.tolist(), named, strict=True)]
    assert shown == [
        (0, Kind.TUNE, 50, "pages_to_scan"),
        (0, Kind.TUNE, 70, "pages_to_scan"),
        (0, Kind.MAP, 0, "heap"),
        (0, Kind.MADVISE, 14, ""),
        (0, Kind.MARK, 0, BEGINS),
        (0, Kind.WRITE, 1, ""),
        (6_000, Kind.MARK, 0, ENDS),
    ]


def test_frames_that_moved_apart_stay_one(tmp_path: Path) -> None:
    """What fork shared, and mremap moved in the child, is one frame in the cut, also where only the child has both."""
    contents = make_contents(np.random.default_rng(1), 4)
    rows = [
        (0, Kind.MAP, 0, 100, 8, 0),
        (0, Kind.WRITE, 0, 100, 8, 1),
        (0, Kind.FORK, 0, 0, 0, 1),
        (1, Kind.MOVE, 1, 100, 4, 200),
        (2, Kind.MAP, 1, 100, 4, 0),
        (3, Kind.SHARE, 1, 100, 2, 0),
        (4, Kind.EXIT, 0, 0, 0, 0),
        (9, Kind.WRITE, 1, 200, 1, 2),
    ]
    whole = make_trace(rows, contents)
    for from_ns in range(1, 9):
        made = cut(whole, from_s=from_ns / 1e9)
        made = replace(made, trace=written(made.trace, tmp_path / str(from_ns)))
        assert_holds_alike(whole, made, from_ns, 9)


def test_shipped_trace_by_command(tmp_path: Path) -> None:
    """A window of a real trace has at its end the frames that the whole has then, and the oracle finds as much."""
    out = tmp_path / "part"
    path = Path(__file__).parents[2] / "traces/debian-idle-x4"
    whole = open_trace(path)
    middle = int(whole.events.time_ns[-1]) / 2e9
    done = run("cut", path, "-o", out, "--from", middle / 2, "--until", middle)
    assert done.returncode == 0, done.stderr
    part = replay(out, "oracle", sample="end")
    all_of_it = replay(path, "oracle", sample="end", until=middle)
    for name in ("frames", "pages_anon", "frames_ksm"):
        assert part.samples[name][-1] == all_of_it.samples[name][-1]
    assert part.summary["saved_bytes"] == all_of_it.summary["saved_bytes"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--from", "1e6"), "ends at"),
        (("--from", "nan"), "number of seconds"),
        (("--from", "-5"), "must be 0 or more"),
        (("--from", "4", "--until", "3"), "before"),
        (("--until", "-1"), "begins at"),
        (("--spaces", "nobody"), "no space has such a name"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], word: str, tmp_path: Path, trace: Path) -> None:
    done = run("cut", trace, "-o", tmp_path / "out", *arguments)
    assert_one_line_mistake(done)
    assert word in done.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path, trace: Path) -> None:
    out = tmp_path / "out"
    assert run("cut", trace, "-o", out, "--spaces", "0").returncode == 0
    assert len(open_trace(out).spaces) == 1
    assert_one_line_mistake(run("cut", trace, "-o", out))
    assert run("cut", trace, "-o", out, "--force", "--json").returncode == 0
    assert len(open_trace(out).spaces) == 2
