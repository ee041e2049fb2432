"""Where results may go, asked before any work is done for them, and why they could not be written."""

import os
from pathlib import Path

from ksmbench.errors import UsageError


def refuse_closed(path: str | os.PathLike[str]) -> None:
    """Raise `UsageError` where nothing can be made at `path`: the nearest folder above it is closed, or is none."""
    parent = Path(path).absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be made: {parent} may not be written to; choose another place")


def reason(error: OSError) -> str:
    """Why something could not be written, in the system's words; libraries put their own before them."""
    return os.strerror(error.errno) if error.errno else str(error)
