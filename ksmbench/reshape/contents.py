"""The contents of a trace that is made out of others."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Contents, Events, Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.tables import read_pages


def used_contents(events: Events) -> npt.NDArray[np.int64]:
    """The contents that are written, ascending, and the zero page, which every trace has."""
    written = events.value[events.kind == Kind.WRITE]
    result: npt.NDArray[np.int64] = np.unique(np.append(written, 0))
    return result


def keep_contents(contents: Contents, used: npt.NDArray[np.int64]) -> Contents:
    """The rows `used` (ascending, the first is 0) alone: what two of them have in common is what it was."""
    lcp = np.zeros(len(used), np.uint16)
    if len(used) > 1:
        # Between two that stay, the least of what neighbours have in common.
        lcp[1:] = np.minimum.reduceat(contents.lcp[: used[-1] + 1], used[:-1] + 1)
    return Contents(lcp, contents.checksum[used])


def renumbered(events: Events, used: npt.NDArray[np.int64]) -> Events:
    """The events with the numbers that the contents `used` get when the others go."""
    writes = events.kind == Kind.WRITE
    value = events.value.copy()
    value[writes] = np.searchsorted(used, value[writes])
    value.setflags(write=False)
    return events._replace(value=value)


def kept_pages(trace: Trace, used: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint8]]:
    """The bytes of the contents `used` of a trace that holds them, in pieces."""
    assert trace.path is not None
    start = 0
    for piece in read_pages(trace.path, trace.page_size):
        low, high = np.searchsorted(used, (start, start + len(piece)))
        if high > low:
            yield piece[used[low:high] - start]
        start += len(piece)
