"""Traces on one host: exact by bytes, equal by fingerprints, refused where nothing tells what is equal."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ksmbench.replaying import replay
from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import FORMAT, VERSION, Advice, Kind
from ksmbench.trace.store import open_trace, write_trace
from ksmbench.trace.tables import read_pages
from tests.commands.running import assert_one_line_mistake, run
from tests.trace.test_ranking import adversarial

N_PAGES = 300
AT_REST = ("frames", "pages_anon", "frames_ksm", "pages_shared", "pages_sharing", "pages_unshared")


def _events(spaces: int, ids: list[np.ndarray], time_ns: int) -> Events:
    rows = []
    for space in range(spaces):
        rows.append((time_ns, Kind.MAP, space, 1000, N_PAGES, 0))
        rows.append((time_ns, Kind.MADVISE, space, 1000, N_PAGES, int(Advice.MERGEABLE)))
        rows += [(time_ns, Kind.WRITE, space, 1000 + i, 1, int(c)) for i, c in enumerate(ids[space])]
    table = np.array(rows, np.int64)
    return Events(
        table[:, 0].copy(),
        table[:, 1].astype(np.uint8),
        table[:, 2].astype(np.int32),
        table[:, 3].copy(),
        table[:, 4].copy(),
        table[:, 5].copy(),
        np.zeros(len(table), np.uint8),
        np.full(len(table), -1, np.int32),
    )


def make(folder: Path, pages: list[np.ndarray], *, key: bytes | None = None, keep: bool = False) -> Path:
    """A trace in which space i holds pages[i]."""
    with ContentStore() as store:
        provisional = [store.add(each) for each in pages]
        ranking = store.rank()
        order = np.argsort(ranking.rank)
        data = store.read(order)
        ids = [ranking.rank[numbers] for numbers in provisional]
    fingerprint = None
    if key is not None:
        digests = b"".join(hashlib.blake2b(page.tobytes(), digest_size=16, key=key).digest() for page in data)
        fingerprint = np.frombuffer(digests, np.uint8).reshape(-1, 16)
    trace = Trace(
        {"format": FORMAT, "version": VERSION, "page_size": 4096, "label": folder.name},
        tuple(Space(i, f"s{i}", "process") for i in range(len(pages))),
        _events(len(pages), ids, 0),
        ranking.contents,
        fingerprint=fingerprint,
    )
    write_trace(trace, folder, pages=[data] if keep else None)
    return folder


@pytest.fixture
def pages() -> list[np.ndarray]:
    """Five spaces with much in common."""
    rng = np.random.default_rng(8)
    pool = adversarial(rng, 400)
    return [pool[rng.integers(0, len(pool), N_PAGES)] for _ in range(5)]


def _at_rest(path: Path) -> dict[str, int]:
    result = replay(path, "ksm-6.18", pages_to_scan=2000, smart_scan=0, sample="end")
    oracle = replay(path, "oracle", sample="end")
    at_rest = {name: int(result.samples[name][-1]) for name in AT_REST}
    return at_rest | {"oracle": int(oracle.samples["frames"][-1])}


def _split(tmp_path: Path, pages: list[np.ndarray], **how: object) -> list[Path]:
    return [
        make(tmp_path / name, pages[part], **how)  # type: ignore[arg-type]
        for name, part in (("one", slice(0, 2)), ("two", slice(2, 3)), ("three", slice(3, 5)))
    ]


def test_exact_by_bytes(tmp_path: Path, pages: list[np.ndarray]) -> None:
    """Combining the parts makes the very contents that one capture of all of it makes."""
    parts = _split(tmp_path, pages, keep=True)
    done = run("combine", *parts, "-o", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert "every figure is exact" in done.stdout
    made, whole = open_trace(tmp_path / "all"), open_trace(make(tmp_path / "whole", pages))
    for mine, theirs in zip(made.contents, whole.contents, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for name in ("kind", "space", "page", "n_pages", "value"):
        np.testing.assert_array_equal(getattr(made.events, name), getattr(whole.events, name))
    held = np.concatenate(list(read_pages(tmp_path / "all", 4096)))
    assert [page.tobytes() for page in held] == sorted({page.tobytes() for p in pages for page in p} | {bytes(4096)})
    assert [space.name for space in made.spaces] == ["one/s0", "one/s1", "two/s0", "three/s0", "three/s1"]


def test_equality_by_fingerprints(tmp_path: Path, pages: list[np.ndarray]) -> None:
    """What does not hang on the order is exact, and each trace's own order stands."""
    parts = _split(tmp_path, pages, key=b"k")
    done = run("combine", *parts, "-o", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert "made up" in done.stdout
    assert _at_rest(tmp_path / "all") == _at_rest(make(tmp_path / "whole", pages))
    made = open_trace(tmp_path / "all")
    assert made.manifest["combined"]["equal_by"] == "fingerprints"
    assert made.fingerprint is not None
    place = {bytes(key): rank for rank, key in enumerate(made.fingerprint)}
    for part in parts:
        trace = open_trace(part)
        assert trace.fingerprint is not None
        ranks = [place[bytes(key)] for key in trace.fingerprint]
        assert ranks == sorted(ranks)
        # At least what neighbours have in common is common to all that stands between them.
        least = np.minimum.reduceat(made.contents.lcp[: ranks[-1] + 1], np.array(ranks[:-1]) + 1)
        assert (least >= trace.contents.lcp[1:]).all()


def test_checksum_classes_are_joined(tmp_path: Path) -> None:
    """Two that one trace calls equal in checksum stay so, also through a content that another trace has."""
    from ksmbench.reshape.merging import by_equality

    def trace(keys: list[int], checksums: list[int]) -> Trace:
        prints = np.zeros((len(keys), 16), np.uint8)
        prints[:, 0] = keys
        contents = Contents(np.zeros(len(keys), np.uint16), np.array(checksums, np.uint32))
        manifest = {"format": FORMAT, "version": VERSION, "page_size": 4096}
        return Trace(manifest, (), _none(), contents, fingerprint=prints)

    merged = by_equality([trace([9, 1, 2], [0, 5, 5]), trace([9, 2, 3, 4], [0, 1, 1, 7])], only_zeroes=False)
    first, second = (merged.contents.checksum[ids].tolist() for ids in merged.ids)
    assert first[1] == first[2] == second[1] == second[2] != second[3] != first[0]


def _none() -> Events:
    return Events(*(np.zeros(0, dtype) for dtype in ("i8", "u1", "i4", "i8", "i8", "i8", "u1", "i4")))


def test_refused_where_nothing_tells(tmp_path: Path, pages: list[np.ndarray]) -> None:
    one = make(tmp_path / "one", pages[:1], key=b"a")
    two = make(tmp_path / "two", pages[1:2], key=b"b")
    bare = make(tmp_path / "bare", pages[2:3])
    for others in ((one, two), (one, bare), (bare, bare)):
        done = run("combine", *others, "-o", tmp_path / "out")
        assert_one_line_mistake(done)
        assert "--only-zeroes" in done.stderr
    done = run("combine", one, two, "-o", tmp_path / "out", "--only-zeroes")
    assert done.returncode == 0, done.stderr
    assert "lower bound" in done.stdout
    made, n = open_trace(tmp_path / "out"), [len(open_trace(path).contents.lcp) for path in (one, two)]
    assert len(made.contents.lcp) == sum(n) - 1


def test_offsets(tmp_path: Path, pages: list[np.ndarray]) -> None:
    one, two = (make(tmp_path / name, pages[:1], keep=True) for name in ("one", "two"))
    done = run("combine", two, one, "-o", tmp_path / "out", "--offset", 2.5, "--offset", 0)
    assert done.returncode == 0, done.stderr
    made = open_trace(tmp_path / "out")
    times = made.events.time_ns
    assert times[0] == 0
    assert times[-1] == 2_500_000_000
    assert (made.events.space[times == 0] == 1).all()
    for offsets in (("--offset", 1), ("--offset", -1, "--offset", 0), ("--offset", "nan", "--offset", 0)):
        assert_one_line_mistake(run("combine", one, two, "-o", tmp_path / "other", *offsets))
    assert_one_line_mistake(run("combine", one, "-o", tmp_path / "other"))
