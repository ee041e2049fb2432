"""What `explain` says of a trace: against plain Python on wild traces, and word by word on a small one."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ksmbench.explaining.area import Subject
from ksmbench.explaining.recorded import explained_trace
from ksmbench.explaining.report import explain
from ksmbench.explaining.show import show
from ksmbench.trace.columns import Trace
from ksmbench.trace.describe import describe
from ksmbench.trace.schema import Mapping
from tests.commands.running import assert_one_line_mistake, run
from tests.naive.scenarios import wild_scenario
from tests.naive.wild_huge import wild_huge_scenario
from tests.reshape.holding import Held, Player
from tests.reshape.test_cut import valid
from tests.trace.foreign import MANIFEST, Tables, foreign_tables, write_foreign


def _assert_mapped_alike(subject: Subject, held: Held) -> None:
    covered = {}
    for area in subject.areas:
        for space, page in held.areas:
            if space == area.space and area.start <= page < area.end:
                assert (space, page) not in covered
                covered[space, page] = area
    assert covered.keys() == held.areas.keys()
    for place, (kind, mergeable, _, _) in held.areas.items():
        verdict = covered[place].verdict
        assert verdict.able == (kind != Mapping.NEVER)
        assert verdict.asked == (mergeable and kind != Mapping.NEVER)


def _assert_counted_alike(subject: Subject, held: Held) -> None:
    area_of = {
        (space, page): row
        for row, area in enumerate(subject.areas)
        for space, page in held.pages
        if space == area.space and area.start <= page < area.end
    }
    in_area = Counter((area_of[place], content) for place, (content, _, _) in held.pages.items())
    in_space = Counter((place[0], content) for place, (content, _, _) in held.pages.items())
    anywhere = Counter(content for content, _, _ in held.pages.values())
    expected: dict[tuple[int, str], int] = Counter()
    for place, (content, _, users) in held.pages.items():
        row = area_of[place]
        expected[row, "sharing_a_frame"] += len(users) > 1
        if content == 0:
            expected[row, "zero_pages"] += 1
        elif in_area[row, content] > 1:
            expected[row, "equal_in_mapping"] += 1
        elif in_space[place[0], content] > 1:
            expected[row, "equal_in_space"] += 1
        else:
            expected[row, "equal_elsewhere" if anywhere[content] > 1 else "equal_to_none"] += 1
    facts = explain(subject)
    by_place = {(m["space"], m["first_page"]): m for m in facts["mappings"]}
    for row, area in enumerate(subject.areas):
        found = by_place[area.space, area.start]
        for name in ("zero_pages", "equal_in_mapping", "equal_in_space", "equal_elsewhere", "equal_to_none"):
            assert found[name] == expected[row, name], name
        assert found["sharing_a_frame"] == expected[row, "sharing_a_frame"]
    assert sum(m["present_pages"] for m in facts["mappings"]) == len(held.pages)
    frames = {users: content for content, _, users in held.pages.values()}
    saved = len(frames) - len({content for content in frames.values() if content})
    assert sum(m["would_save_pages"] for m in facts["mappings"]) == pytest.approx(saved, abs=0.1)
    assert facts["savings"]["if_all_asked_pages"] == saved


def _wild(seed: int) -> Trace:
    return wild_scenario(seed)[0]


def _wild_huge(seed: int) -> Trace:
    return wild_huge_scenario(seed)[0]


def _try(scenario: Callable[[int], Trace], seed: int) -> None:
    trace = valid(scenario(seed))
    times = trace.events.time_ns
    for time_ns in {int(np.random.default_rng([seed, 9]).choice(times)), int(times[-1])}:
        player = Player(trace)
        player.play_until(time_ns)
        spaces = {number: number for number in player.memory.mms}
        subject = explained_trace(trace, at_s=time_ns / 1e9)
        _assert_mapped_alike(subject, player.held(spaces))
        _assert_counted_alike(subject, player.held(spaces))
    end = describe(trace)["memory"]["end"]
    savings = explain(subject)["savings"] if time_ns == times[-1] else explain(explained_trace(trace))["savings"]
    assert savings["as_asked_pages"] == end["oracle_saved_pages"]
    assert savings["if_all_asked_pages"] == end["oracle_saved_pages_if_all_mergeable"]


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_wild_traces(start: int) -> None:
    for seed in range(start, start + 10):
        _try(_wild, seed)


@pytest.mark.parametrize("seed", range(3))
def test_wild_traces_with_huge_frames(seed: int) -> None:
    _try(_wild_huge, seed)


ROWS = [  # time, kind, space, page, count, value, name
    (0, "map", 0, 16, 16, 0, "heap"),
    (0, "madvise", 0, 16, 16, 12, None),
    (0, "write", 0, 16, 2, 1, None),
    (0, "write", 0, 18, 1, 2, None),
    (0, "write", 0, 19, 1, 3, None),
    (0, "write", 0, 20, 1, 0, None),
    (0, "map", 0, 64, 8, 0, None),
    (0, "madvise", 0, 64, 8, 12, None),
    (0, "write", 0, 64, 1, 4, None),
    (0, "map", 0, 128, 8, 2, "/lib/some.so"),
    (0, "write", 0, 128, 1, 1, None),
    (0, "map", 0, 256, 8, 1, "/dev/zero (deleted)"),
    (0, "map", 0, 512, 8, 1, "vdso"),
    (0, "map", 0, 1024, 8, 1, "anon_inode:[perf_event]"),
    (0, "map", 1, 16, 4, 0, "ram"),
    (0, "write", 1, 16, 1, 1, None),
    (10**9, "madvise", 0, 64, 8, 13, None),
    (2 * 10**9, "prctl", 1, None, None, 1, None),
    (2 * 10**9, "tune", None, None, None, 1, "run"),
]


def _tables() -> Tables:
    tables = foreign_tables()
    time, kind, space, page, count, value, name = zip(*ROWS, strict=True)
    tables["spaces"]["kind"] = pa.array(["process", "vm"])
    tables["events"] = {
        "time_ns": pa.array(time, pa.int64()),
        "kind": pa.array(kind),
        "space": pa.array(space, pa.uint32()),
        "page": pa.array(page, pa.uint64()),
        "count": pa.array(count, pa.uint64()),
        "value": pa.array(value, pa.int64()),
        "name": pa.array(name, pa.string()),
    }
    tables["contents"] = {
        "lcp": pa.array([0, 7, 100, 4090, 16], pa.uint16()),
        "checksum": pa.array(range(5), pa.uint32()),
    }
    return tables


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The trace of `ROWS`, made on a host where KSM was off."""
    folder = tmp_path / "small"
    write_foreign(folder, _tables(), MANIFEST | {"host": {"ksm": {"run": 0}, "kernel": "6.1.0"}})
    return folder


def _explained(*arguments: object) -> dict[tuple[int, int], dict]:
    facts = json.loads(run("explain", *arguments, "--json").stdout)
    return {(m["space"], m["first_page"]): m for m in facts["mappings"]}


def test_every_reason_is_told(small: Path) -> None:
    found = _explained(small)
    assert {place: m["verdict"] for place, m in found.items()} == {
        (0, 16): "asked",
        (0, 64): "unmergeable",
        (0, 128): "private file",
        (0, 256): "shared memory",
        (0, 512): "kernel's own",
        (0, 1024): "never mergeable",
        (1, 16): "asked",
    }
    assert "prctl" in found[1, 16]["why"]
    assert "MADV_UNMERGEABLE" in found[0, 64]["why"]
    assert "prctl" not in found[0, 128]["remedy"]  # Linux 6.1 has none
    at_first = _explained(small, "--at", "0.5")
    assert at_first[0, 64]["verdict"] == "asked"
    assert at_first[1, 16]["verdict"] == "not asked"
    assert "mem-merge=on" in at_first[1, 16]["remedy"]


def test_equal_pages_and_first_differences_are_exact(small: Path) -> None:
    facts = json.loads(run("explain", small, "--json").stdout)
    heap = next(m for m in facts["mappings"] if m["name"] == "heap")
    assert [heap[name] for name in ("present_pages", "zero_pages", "equal_in_mapping", "equal_to_none")] == [5, 1, 2, 2]
    assert facts["savings"] == {
        "as_asked_pages": 3,  # of four of content 1 the three that asked keep one, and the zero page goes
        "if_all_asked_pages": 4,
        "if_all_were_private_pages": 4,
    }
    differences = facts["differences"]
    assert differences["pages"] == 3
    assert differences["almost_equal_pages"] is None
    assert [(row["first"], row["pages"]) for row in differences["ranges"] if row["pages"]] == [(8, 1), (4088, 2)]
    assert [(row["offset"], row["pages"]) for row in differences["offsets"]] == [(4090, 2)]
    assert differences["offsets"][0]["mostly_in"] == "a: heap"


def test_the_text_is_narrow_and_begins_with_whether_ksm_ran(small: Path) -> None:
    text = run("explain", small, "--at", "1.5", "--all").stdout
    assert text.startswith("KSM was off")
    assert run("explain", small).stdout.startswith("KSM ran")
    assert max(map(len, text.splitlines())) <= 80
    for words in ("heap", "/lib/some.so", "CANNOT MERGE: shared memory", "the tail", "3 pages equal no other"):
        assert words in text
    assert "vdso" not in run("explain", small).stdout


def test_info_has_the_section(small: Path) -> None:
    assert "CAN MERGE: asked" in run("info", small).stdout
    merging = json.loads(run("info", small, "--json").stdout)["merging"]
    assert merging["savings"]["as_asked_pages"] == 3


def test_mistakes_are_one_sentence(small: Path, tmp_path: Path) -> None:
    for arguments in (
        (),
        (small, "--pid", 1),
        ("--pid", 1, "--at", 3),
        ("--pid", 0),
        (small, "--at", -1),
        (small, "--at", "nan"),
        (small, "--at", 1e30),
        (tmp_path / "none",),
        (small, "--max-memory", "1K"),
    ):
        assert_one_line_mistake(run("explain", *arguments))


def test_an_empty_trace_and_a_broken_one(tmp_path: Path) -> None:
    tables = _tables()
    empty = {name: {column: array[:0] for column, array in columns.items()} for name, columns in tables.items()}
    empty["contents"] = {column: array[:1] for column, array in tables["contents"].items()}
    write_foreign(tmp_path / "empty", empty)
    assert "nothing is mapped" in run("explain", tmp_path / "empty").stdout
    (tmp_path / "empty" / "events.parquet").write_bytes(b"PAR1")
    assert_one_line_mistake(run("explain", tmp_path / "empty"))


def test_names_are_tamed(tmp_path: Path) -> None:
    tables = _tables()
    names = ["\x1b[31m\n" + "x" * 500 if row[1] == "map" else row[6] for row in ROWS]
    tables["events"]["name"] = pa.array(names, pa.string())
    tables["spaces"]["name"] = pa.array(["\x1b[0m" * 50, "b"])
    write_foreign(tmp_path / "t", tables, MANIFEST | {"host": {"ksm": {"run": "\x1b"}, "kernel": 6}})
    text = show(json.loads(run("explain", tmp_path / "t", "--json").stdout), show_all=True)
    assert "\x1b" not in text
