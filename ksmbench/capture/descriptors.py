"""Open files: a capture has three of each process, more than a shell allows where there are some hundred processes."""

import os
import resource

from ksmbench.errors import KsmbenchError

_RESERVED = 64  # for looks and for writing the trace


def allow_most() -> None:
    """Have as many as we may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check_room(newest: int) -> None:
    """Raise `KsmbenchError`, and close it, where the newest descriptor is one of the last that are allowed."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and newest >= limit - _RESERVED:
        os.close(newest)
        raise KsmbenchError(
            f"so many processes need more than the {limit:,} open files that are allowed here; raise the limit with "
            "ulimit -Hn, as root"
        )
