"""A folder that takes the place of another in one step."""

import ctypes
import errno
import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def _exchange(a: Path, b: Path) -> bool:
    # renameat2(2): both names change at once; False where the C library or the file system lacks it.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(b))


def _remove_leftovers(folder: Path) -> None:
    # What killed writers of `folder` left beside it. A writer is known by its process id here, by its lock elsewhere.
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.new"):
        pid = left.name.split(".")[-2]
        if not pid.isdecimal() or Path(f"/proc/{pid}").exists():
            continue
        with suppress(OSError):
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder` to write its files into; it is gone afterwards, unless it was published."""
    _remove_leftovers(folder)
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    lock = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield scratch
    finally:
        os.close(lock)
        shutil.rmtree(scratch, ignore_errors=True)


def publish(scratch: Path, folder: Path) -> None:
    """Let the folder `scratch` appear as `folder`; what stood there before goes.

    Whoever opens `folder`, or kills this process, finds the old or the new one at any moment, where the file system
    can exchange names (ext4, xfs, btrfs, tmpfs do).
    """
    if not folder.exists():
        scratch.rename(folder)
        return
    if _exchange(scratch, folder):
        shutil.rmtree(scratch, ignore_errors=True)
        return
    old = scratch.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    try:
        scratch.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
