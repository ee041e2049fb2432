"""What compiled code reads and compares is what is in memory, in both ways of reading; and without compiled code."""

import mmap
import os

import numpy as np
import pytest

from ksmbench.capture.comparing import Comparer
from ksmbench.capture.procfs import ProcessGoneError
from ksmbench.capture.reading import Reader
from ksmbench.jit import numba_config
from ksmbench.trace.ranking import ContentStore
from tests.capture.child import PAGE, Child

_N = 1500  # more than are handed over at a time


def _area(pages: np.ndarray) -> tuple[mmap.mmap, int]:
    # Memory of ours that holds these pages, and its first page.
    memory = mmap.mmap(-1, len(pages) * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:] = pages.tobytes()
    return memory, int(np.frombuffer(memory, np.uint8).ctypes.data) // PAGE


@pytest.mark.parametrize("memory_pages", [2 * _N, 16])  # in memory: by bytes; on disk: by digests
@pytest.mark.parametrize("unshared", [False, True])
@pytest.mark.parametrize("jit", [True, False])
def test_what_changed_is_found(memory_pages: int, unshared: bool, jit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_config, "DISABLE_JIT", int(numba_config.DISABLE_JIT or not jit))
    rng = np.random.default_rng(5)
    pages = rng.integers(0, 256, (_N, PAGE), np.uint8)
    pages[7] = 0
    pages[9] = pages[8]
    memory, first = _area(pages)
    where = np.sort(rng.choice(_N, _N - 100, replace=False))  # with gaps
    with ContentStore(PAGE, memory_bytes=memory_pages * PAGE) as store:
        comparer = Comparer(Reader(), store)
        content = np.full(len(where), -1)

        def look() -> None:
            assert comparer.compare(os.getpid(), first + where, content, unshared=unshared, in_time=lambda: None).all()
            assert (store.read(content) == pages[where]).all()

        look()
        n = len(store)
        look()
        assert len(store) == n  # nothing changed
        for page in (where[0], where[700], where[-1]):
            memory[int(page) * PAGE + PAGE - 1 : int(page + 1) * PAGE] = bytes([pages[page, -1] ^ 1])
            pages[page, -1] ^= 1
        look()
        assert len(store) == n + 3


@pytest.mark.parametrize("unshared", [False, True])
def test_pages_whose_mapping_went_are_not_read(unshared: bool) -> None:
    pages = np.random.default_rng(6).integers(0, 256, (300, PAGE), np.uint8)
    memory, first = _area(pages)
    gone, at = _area(pages[:1])
    gone.close()
    with ContentStore(PAGE) as store:
        wanted = np.sort(np.append(first + np.arange(300), at))
        content = np.full(301, -1)
        there = Comparer(Reader(), store).compare(os.getpid(), wanted, content, unshared=unshared, in_time=lambda: None)
        assert there.tolist() == (wanted != at).tolist()
        assert (store.read(content[there]) == pages).all()
    memory.close()


@pytest.mark.parametrize("unshared", [False, True])
def test_a_process_that_ends_while_it_is_read(unshared: bool) -> None:
    with Child() as child, ContentStore(PAGE) as store:
        child.do("big = area(20000); big[:] = b'x' * len(big)")
        first = int(child.do("answer = where(big)"))
        looks = 0

        def end() -> None:
            nonlocal looks
            looks += 1
            if looks == 2:
                child.end()

        with pytest.raises(ProcessGoneError):
            Comparer(Reader(), store).compare(
                child.pid, first + np.arange(20000), np.full(20000, -1), unshared=unshared, in_time=end
            )
        assert looks < 4
