"""Page contents in memory up to a bound, and in one file that nobody else can open beyond it.

The file has no name once it is open, so the kernel frees it when its last user ends, however that happens.
"""

import mmap
import os
import tempfile
import weakref
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from ksmbench.errors import KsmbenchError

_PIECE = 64 << 20
_FIRST_BYTES = 16 << 20
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def _spool_folder(folder: Path | None) -> Path:
    # /tmp is often memory; /var/tmp is on disk by convention.
    if folder is not None:
        return folder
    named = os.environ.get("TMPDIR")
    if named:
        return Path(named)
    disk = Path("/var/tmp")
    return disk if os.access(disk, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def open_nameless(folder: Path | None = None) -> int:
    """Open a file of mode 0600 without a name in `folder` (default: TMPDIR or /var/tmp); returns its descriptor."""
    place = _spool_folder(folder)
    try:
        return os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC | os.O_EXCL, 0o600)
    except OSError:
        pass  # a file system without O_TMPFILE: a name for an instant, in a folder of mode 0700
    try:
        with tempfile.TemporaryDirectory(prefix="ksmbench-", dir=place) as private:
            path = os.path.join(private, "contents")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.unlink(path)
            return descriptor
    except OSError as error:
        raise KsmbenchError(
            f"{place}: no spool for page contents can be made there ({error.strerror}); set TMPDIR to another folder"
        ) from None


class SpoolFullError(KsmbenchError):
    """The contents would take more disk than they may."""


class Spool:
    """An append-only array of pages; `words` shows all of it as flat read-only uint64.

    `words` must be fetched again after each `append`. The file never holds more than `max_file_bytes`, where that is
    given. Not safe for use by two threads at once.
    """

    def __init__(
        self, page_size: int, memory_bytes: int, folder: Path | None = None, max_file_bytes: int | None = None
    ) -> None:
        self.page_size = page_size
        self.n_pages = 0
        self.descriptor = -1  # of the file, once there is one
        self._memory_bytes = max(memory_bytes, page_size) // page_size * page_size
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        # Addresses only: memory follows what is written.
        self._map: mmap.mmap | None = mmap.mmap(-1, self._memory_bytes, flags=flags)
        self._map.madvise(mmap.MADV_DONTDUMP)
        if self._memory_bytes >= _FIRST_BYTES:
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self._file_bytes = 0
        self._finalizer: weakref.finalize[[int], Spool] | None = None

    @property
    def words(self) -> npt.NDArray[np.uint64]:
        """Every page so far, uint64 [n_pages * page_size / 8]."""
        if self._map is None:
            raise ValueError("the spool is closed")
        words = np.frombuffer(self._map, np.uint64, self.n_pages * self.page_size // 8)
        words.setflags(write=False)
        return words

    def check_room(self, n_pages: int) -> None:
        """Raise `SpoolFullError` where that many further pages are more than the file may hold."""
        wanted = (self.n_pages + n_pages) * self.page_size
        if self._max_file_bytes is not None and wanted > max(self._memory_bytes, self._max_file_bytes):
            raise SpoolFullError("the distinct contents are more than the spool may hold")

    def append(self, pages: npt.NDArray[np.uint8]) -> None:
        """Add uint8 [n, page_size]; raises `KsmbenchError` where the disk is full."""
        if self._map is None:
            raise ValueError("the spool is closed")
        start = self.n_pages * self.page_size
        if self.descriptor < 0 and start + pages.nbytes <= self._memory_bytes:
            np.frombuffer(self._map, np.uint8, pages.nbytes, start).reshape(pages.shape)[:] = pages
        else:
            if self.descriptor < 0:
                self._spill(self._map, start)
            self._reserve(start + pages.nbytes)
            self._write(np.ascontiguousarray(pages).reshape(-1).data, start)
        self.n_pages += len(pages)

    def _spill(self, memory: mmap.mmap, n_bytes: int) -> None:
        # From here on everything is in the file, and the kernel decides what of it stays cached.
        self.descriptor = open_nameless(self._folder)
        self._finalizer = weakref.finalize(self, os.close, self.descriptor)
        with memoryview(memory) as view:
            for start in range(0, n_bytes, _PIECE):
                stop = min(start + _PIECE, n_bytes)
                with view[start:stop] as piece:
                    self._write(piece, start)
                if start % mmap.PAGESIZE == 0:
                    memory.madvise(mmap.MADV_DONTNEED, start, stop - start)

    def _reserve(self, n_bytes: int) -> None:
        if n_bytes <= self._file_bytes:
            return
        # A sparse end: blocks are allocated by write(2), whose failure is an error and not a signal.
        self._file_bytes = max(n_bytes, 2 * self._file_bytes, _FIRST_BYTES)
        try:
            os.ftruncate(self.descriptor, self._file_bytes)
        except OSError as error:
            self._refuse(error)
        self._map = mmap.mmap(self.descriptor, self._file_bytes, prot=mmap.PROT_READ)

    def _write(self, data: memoryview, start: int) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self.descriptor, data[done : done + _PIECE], start + done)
        except OSError as error:
            self._refuse(error)

    def _refuse(self, error: OSError) -> NoReturn:
        raise KsmbenchError(
            f"{_spool_folder(self._folder)}: page contents cannot be spooled there ({error.strerror}); "
            "set TMPDIR to a folder with more space"
        ) from None

    def close(self) -> None:
        """Give memory and disk back; arrays from `words` keep what they show until they are dropped."""
        self._map = None
        if self._finalizer is not None:
            self._finalizer()
        self.descriptor = -1
