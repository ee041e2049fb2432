"""The events in the raw pages of the kernel's trace buffers.

A page begins with a time (8 bytes) and the number of bytes that follow (8 bytes, of which the uppermost bits of 32 tell
of lost events). Then comes event by event a word of 5 bits of length and 27 bits of time since the event before, and
its data. tracefs' files `events/header_page` and `events/header_event` describe it.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ksmbench.jit import Integer, kernel

_HEADER = 16
_LENGTH = (1 << 27) - 1  # of the second word
_PADDING, _EXTENDED, _STAMP = 29, 30, 31
_DELTA_BITS = 27
_STAMP_BITS = 59  # of an absolute time; those above are as before


class Found(NamedTuple):
    """The events of some pages, in the pages' order; one element each."""

    time_ns: npt.NDArray[np.int64]
    at: npt.NDArray[np.int32]  # where the event's data begins in the bytes given
    size: npt.NDArray[np.int32]  # of its data, in bytes


@kernel
def _find(words: Any, page_words: Integer, time: Any, at: Any, size: Any) -> int:
    # `words` uint32 of whole pages. Every step stays inside of its page, whatever stands there.
    n = 0
    for page in range(len(words) // page_words):
        first = page * page_words
        now = np.int64(words[first]) | (np.int64(words[first + 1]) << 32)
        length = np.int64(words[first + 2]) & _LENGTH
        i = first + _HEADER // 4
        end = min(i + length // 4, first + page_words)
        while i < end:
            kind = np.int64(words[i]) & 31
            delta = np.int64(words[i]) >> 5
            more = np.int64(words[i + 1]) if i + 1 < end else np.int64(0)
            if kind == _PADDING:
                if delta == 0:
                    break
                now += delta
                i += 1 + max(np.int64(1), more // 4)
                continue
            if kind == _EXTENDED:
                now += delta + (more << _DELTA_BITS)
                i += 2
                continue
            if kind == _STAMP:
                now = ((now >> _STAMP_BITS) << _STAMP_BITS) | (delta + (more << _DELTA_BITS))
                i += 2
                continue
            now += delta
            data = i + 1
            n_words = kind
            if kind == 0:
                data = i + 2
                n_words = max(np.int64(0), more // 4 - 1)
            if data + n_words > end:
                break
            time[n] = now
            at[n] = data * 4
            size[n] = n_words * 4
            n += 1
            i = data + n_words
    return n


def find_events(raw: bytes, page_size: int) -> Found:
    """Return the events in whole pages of `page_size` bytes, less than 2 GiB of them."""
    words = np.frombuffer(raw, np.uint32)
    most = len(words)  # each event has a word at least
    time, at, size = np.empty(most, np.int64), np.empty(most, np.int32), np.empty(most, np.int32)
    n = _find(words, page_size // 4, time, at, size)
    return Found(time[:n], at[:n], size[:n])
