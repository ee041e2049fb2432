"""The events of a capture as they grow, and the trace that they make at any moment."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Events, Space, Trace
from ksmbench.trace.ranking import Ranking
from ksmbench.trace.schema import Kind

_COLUMNS = ("time_ns", "kind", "space", "page", "n_pages", "value", "name")
_MOST_RECENT = 1 << 12
_DTYPES = (np.int64, np.uint8, np.int32, np.int64, np.int64, np.int64, np.int32)


def _joined(chunks: Sequence[tuple[npt.NDArray[Any], ...]]) -> tuple[npt.NDArray[Any], ...]:
    return tuple(np.concatenate(column) for column in zip(*chunks, strict=True)) if len(chunks) > 1 else chunks[0]


class Recorder:
    """Collects events in order; a `write` holds the provisional content id of the store until a trace is made."""

    def __init__(self, rename: Callable[[str], str] | None = None) -> None:
        self._rename = rename  # of what the processes, or who runs them, named
        self._chunks: list[tuple[npt.NDArray[Any], ...]] = []
        self._recent: list[tuple[npt.NDArray[Any], ...]] = []  # the same, of few events each
        self._names: dict[str, int] = {}
        self.n_events = 0
        self.last_time_ns = 0

    def _append(self, columns: Sequence[npt.NDArray[Any] | int]) -> None:
        n = max(len(column) for column in columns if isinstance(column, np.ndarray))
        chunk = tuple(
            np.ascontiguousarray(np.broadcast_to(column, n), dtype)
            for column, dtype in zip(columns, _DTYPES, strict=True)
        )
        self._recent.append(chunk)
        if len(self._recent) >= _MOST_RECENT:  # an array has a hundred bytes, a cell of one eight
            self._chunks.append(_joined(self._recent))
            self._recent = []
        self.n_events += n
        self.last_time_ns = int(chunk[0][-1])

    def add(
        self, time_ns: int, kind: Kind, space: int, *, page: int = 0, n_pages: int = 0, value: int = 0, name: str = ""
    ) -> None:
        """Add one event."""
        if self._rename is not None and kind not in (Kind.TUNE, Kind.MARK):
            name = self._rename(name)
        index = self._names.setdefault(name, len(self._names)) if name else -1
        self._append([np.array([time_ns]), int(kind), space, page, n_pages, value, index])

    def add_pages(
        self,
        time_ns: int,
        kind: Kind,
        space: int,
        pages: npt.NDArray[np.int64],
        values: npt.NDArray[np.int64] | int = 0,
    ) -> None:
        """Add events for `pages` (int64 [n], ascending); neighbours of one value become one row."""
        if not len(pages):
            return
        each = np.broadcast_to(np.asarray(values, np.int64), len(pages))
        breaks = (np.diff(pages) != 1) | (np.diff(each) != 0)
        starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
        lengths = np.diff(starts, append=len(pages))
        self._append([np.full(len(starts), time_ns), int(kind), space, pages[starts], lengths, each[starts], -1])

    def trace(
        self,
        manifest: dict[str, Any],
        spaces: Sequence[Space],
        ranking: Ranking,
        fingerprint: npt.NDArray[np.uint8] | None = None,
    ) -> Trace:
        """Return the trace of everything so far; content ids are ranks among the contents so far."""
        chunks = [*self._chunks, *self._recent]
        self._chunks, self._recent = [_joined(chunks)] if chunks else [], []
        empty = tuple(np.zeros(0, dtype) for dtype in _DTYPES)
        columns = dict(zip(_COLUMNS, self._chunks[0] if self._chunks else empty, strict=True))
        writes = columns["kind"] == Kind.WRITE
        value = columns["value"].copy()
        value[writes] = ranking.rank[value[writes]]
        node = np.zeros(len(value), np.uint8)
        events = Events(**{**columns, "value": value}, node=node)
        return Trace(manifest, tuple(spaces), events, ranking.contents, tuple(self._names), fingerprint=fingerprint)
