"""Contents are told apart by bytes, ranked as memcmp ranks them, and their spool never outlives the process."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ksmbench.errors import KsmbenchError
from ksmbench.trace import spool
from ksmbench.trace.checksum import checksums
from ksmbench.trace.ranking import ContentStore

TINY = 3 * 4096
VECTORS = [
    (bytes(4096), 0x32D8BBDB),
    (b"\xff" * 4096, 0x4282321F),
    (bytes(i & 255 for i in range(4096)), 0x186AF6A4),
    (bytes(4095) + b"\1", 0xC8CABF7C),
    (b"\1" + bytes(4095), 0xA2484610),
]


@pytest.fixture(autouse=True)
def _wrapping() -> Iterator[None]:
    # Hashes wrap; only numpy, with the JIT off, says so.
    with np.errstate(over="ignore"):
        yield


def pages_of(*contents: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(contents), np.uint8).reshape(len(contents), -1)


def adversarial(rng: np.random.Generator, n: int, page_size: int = 4096) -> np.ndarray:
    """Random pages, most of which share a prefix of any length with others; some are zero, some equal."""
    bases = rng.integers(0, 256, (4, page_size), dtype=np.uint8)
    bases[0] = 0
    bases[1] = 255
    pages = bases[rng.integers(0, 4, n)]
    for page in pages:
        start = int(rng.integers(0, page_size))
        stop = start + int(rng.choice([0, 1, 1, 9, page_size]))
        page[start:stop] = rng.integers(0, 256, len(page[start:stop]), dtype=np.uint8)
    return pages


def check(store: ContentStore, seen: dict[bytes, int]) -> None:
    """Compare everything that `rank` says with a sort of the bytes themselves."""
    contents = sorted(seen)
    ranking = store.rank(private=False)
    assert len(store) == len(seen) == len(ranking.rank)
    assert ranking.rank.dtype == np.int64
    for rank, content in enumerate(contents):
        assert ranking.rank[seen[content]] == rank
    lcp = [0] + [len(os.path.commonprefix(pair)) for pair in zip(contents, contents[1:], strict=False)]
    np.testing.assert_array_equal(ranking.contents.lcp, np.array(lcp, np.uint16), strict=True)
    np.testing.assert_array_equal(ranking.contents.checksum, checksums(pages_of(*contents)), strict=True)


@pytest.mark.parametrize(("content", "checksum"), VECTORS)
def test_checksum_vectors(content: bytes, checksum: int) -> None:
    assert checksums(pages_of(content))[0] == checksum


def test_checksums_equal_the_library() -> None:
    xxhash = pytest.importorskip("xxhash")
    for size in (512, 4096, 65536):
        pages = np.random.default_rng(size).integers(0, 256, (7, size), dtype=np.uint8)
        expected = [xxhash.xxh64(page.tobytes()).intdigest() & 0xFFFFFFFF for page in pages]
        assert checksums(pages).tolist() == expected


@pytest.mark.parametrize("memory_bytes", [1 << 30, TINY])
@pytest.mark.parametrize("page_size", [512, 4096])
def test_ranks_equal_a_sort_of_bytes(page_size: int, memory_bytes: int) -> None:
    rng = np.random.default_rng(7)
    seen = {bytes(page_size): 0}
    with ContentStore(page_size, memory_bytes=memory_bytes) as store:
        check(store, seen)
        for n in (0, 1, 3, 200, 5, 700):
            pages = adversarial(rng, n, page_size)
            ids = store.add(pages)
            assert ids.dtype == np.int64
            for page, number in zip(pages, ids, strict=True):
                assert seen.setdefault(page.tobytes(), int(number)) == number
            check(store, seen)
            np.testing.assert_array_equal(store.add(pages), ids)
        for content, number in list(seen.items())[::50]:
            assert store.read(np.array([number])).tobytes() == content


@pytest.mark.parametrize("memory_bytes", [1 << 30, TINY])
def test_each_page_longer_alike_than_the_next(memory_bytes: int) -> None:
    # Every word peels one page off the group: as deep as sorting can get.
    staircase = np.tril(np.full((4096, 4096), 255, np.uint8))
    with ContentStore(memory_bytes=memory_bytes) as store:
        ids = store.add(staircase[::-1])
        ranking = store.rank()
    np.testing.assert_array_equal(ranking.rank[ids][::-1], np.arange(1, 4097))
    np.testing.assert_array_equal(ranking.contents.lcp, np.r_[0, np.arange(4096)])


def test_many_pages_that_differ_in_one_word_only() -> None:
    pages = np.zeros((5000, 4096), np.uint8)
    numbers = np.random.default_rng(3).permutation(5000) + 1
    pages[:, 2048:2056] = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
    with ContentStore() as store:
        ranking = store.rank()
        ids = store.add(pages)
        ranking = store.rank()
    np.testing.assert_array_equal(ranking.rank[ids], numbers)


def test_more_pages_than_one_piece_and_more_contents_than_slots() -> None:
    numbers = np.random.default_rng(5).integers(0, 30_000, 50_000)
    pages = np.zeros((50_000, 512), np.uint8)
    pages[:, :8] = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
    with ContentStore(512) as store:
        ids = store.add(pages)
        rank = store.rank().rank
    values = np.unique(np.r_[0, numbers])
    np.testing.assert_array_equal(values[rank[ids]], numbers)


def test_equal_hashes_do_not_make_equal_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    # Contents that collide are made by lying about what is stored: every known digest becomes that of the new pages.
    pages = adversarial(np.random.default_rng(11), 300)
    with ContentStore() as store:
        first = store.add(pages[:1])
        new = pages[1:2]
        with ContentStore() as other:
            other.add(new)
            digest = other._digests[1]
        store._digests[1] = digest
        store._slots[:] = -1
        store._slots[int(digest >> np.uint64(32)) & (len(store._slots) - 1)] = 1
        assert store.add(new)[0] != first[0]
        assert store.add(pages[:1])[0] != 0


def test_private_checksums_keep_equality_only() -> None:
    with ContentStore() as store:
        store.add(adversarial(np.random.default_rng(13), 400))
        # Two contents of equal checksum cannot be had cheaply: claim one.
        store._digests[5] = store._digests[9]
        private = store.rank().contents.checksum
        plain = store.rank(private=False).contents.checksum
    assert private.dtype == np.uint32
    assert len(np.unique(plain)) == len(np.unique(private)) == len(plain) - 1
    pairs = set(zip(plain.tolist(), private.tolist(), strict=True))
    assert len(pairs) == len(plain) - 1
    assert private.max() == len(plain) - 2


def test_any_layout_of_the_input_is_taken() -> None:
    pages = adversarial(np.random.default_rng(17), 40)
    raw = bytearray(1) + pages.tobytes()
    unaligned = np.frombuffer(raw, np.uint8, offset=1).reshape(-1, 4096)
    with ContentStore() as store:
        ids = store.add(pages)
        np.testing.assert_array_equal(store.add(unaligned), ids)
        np.testing.assert_array_equal(store.add(pages[::-2]), ids[::-2])
        np.testing.assert_array_equal(store.add(np.asfortranarray(pages)), ids)
        with pytest.raises(ValueError, match="uint8"):
            store.add(pages[:, :512])
    with pytest.raises(ValueError, match="power of two"):
        ContentStore(1000)


def test_the_spool_has_no_name_and_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    with ContentStore(memory_bytes=TINY, folder=tmp_path) as store:
        store.add(adversarial(np.random.default_rng(19), 100))
        descriptor = store._spool.descriptor
        status = os.fstat(descriptor)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_nlink == 0
        assert status.st_blocks > 0
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.rank()


def test_the_spool_where_files_need_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool.os, "O_TMPFILE", os.O_DIRECTORY)
    descriptor = spool.open_nameless(tmp_path)
    try:
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
        assert list(tmp_path.iterdir()) == []
    finally:
        os.close(descriptor)
    with pytest.raises(KsmbenchError, match="set TMPDIR"):
        spool.open_nameless(tmp_path / "none")


def test_the_spool_is_dropped_with_its_store_and_after_a_failure(tmp_path: Path) -> None:
    store = ContentStore(memory_bytes=TINY, folder=tmp_path)
    store.add(adversarial(np.random.default_rng(23), 100))
    descriptor = store._spool.descriptor
    with pytest.raises(RuntimeError, match="middle"), store:
        raise RuntimeError("in the middle")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    store = ContentStore(memory_bytes=TINY, folder=tmp_path)
    store.add(adversarial(np.random.default_rng(23), 100))
    descriptor = store._spool.descriptor
    del store
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


KILLED = """
import sys
import numpy as np
from pathlib import Path
from ksmbench.trace.ranking import ContentStore
store = ContentStore(memory_bytes=4096, folder=Path(sys.argv[1]))
store.add(np.random.default_rng(1).integers(0, 256, (500, 4096), dtype=np.uint8))
print("spooled", flush=True)
sys.stdin.read()
"""


def test_kill_leaves_no_file(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "spooled\n"
        assert any(
            os.readlink(link).startswith(str(tmp_path))
            for link in Path(f"/proc/{process.pid}/fd").iterdir()
            if os.path.islink(link)
        )
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, sys
import numpy as np
from ksmbench.errors import KsmbenchError
from ksmbench.trace.ranking import ContentStore
store = ContentStore(memory_bytes=4096)
pages = np.random.default_rng(1).integers(0, 256, (9000, 4096), dtype=np.uint8)
store.add(pages[:100])
resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))
try:
    store.add(pages)
except KsmbenchError as error:
    print(error)
"""


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True, env=environment)
    assert "set TMPDIR" in done.stdout
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
