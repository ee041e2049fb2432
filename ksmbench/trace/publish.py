"""A folder that takes the place of another in one step."""

import ctypes
import errno
import os
import shutil
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
