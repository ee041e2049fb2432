"""Events as they are written one after the other, and the columns that they make in the end."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Events
from ksmbench.trace.schema import Kind

Cells = npt.NDArray[Any] | int
_DTYPES = (np.int64, np.uint8, np.int32, np.int64, np.int64, np.int64, np.uint8, np.int32)
_MOST_SINGLE = 1 << 16  # rows that wait to become arrays


class Rows:
    """Events in order. `names` begins with those that rows of an older trace point to.

    `told` is called with time, kind, space, page, count and value of every event that is added alone.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self.told: Callable[[int, int, int, int, int, int], None] | None = None
        self._numbers = {name: number for number, name in enumerate(names)}
        self._chunks: list[tuple[npt.NDArray[Any], ...]] = []
        self._single: list[tuple[Cells, ...]] = []  # rows added one by one since the last chunk

    def number(self, name: str) -> int:
        """The number of a name, which is added where it is new."""
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]

    def add(
        self,
        time_ns: Cells,
        kind: Cells,
        space: Cells,
        page: Cells = 0,
        n_pages: Cells = 0,
        value: Cells = 0,
        node: Cells = 0,
        name: Cells = -1,
    ) -> None:
        """Add one event, or as many as the arrays among the cells have elements."""
        cells = (time_ns, kind, space, page, n_pages, value, node, name)
        lengths = [len(cell) for cell in cells if isinstance(cell, np.ndarray)]
        if not lengths:
            self._single.append(cells)
            if len(self._single) >= _MOST_SINGLE:
                self._close_chunk()
            if self.told is not None:
                self.told(*(int(cell) for cell in cells[:6]))
            return
        self._close_chunk()
        self._chunks.append(
            tuple(
                np.broadcast_to(np.asarray(cell, dtype), max(lengths))
                for cell, dtype in zip(cells, _DTYPES, strict=True)
            )
        )

    def _close_chunk(self) -> None:
        if self._single:
            columns = zip(*self._single, strict=True)
            self._chunks.append(tuple(np.array(c, dtype) for c, dtype in zip(columns, _DTYPES, strict=True)))
            self._single = []

    def add_runs(
        self,
        time_ns: int,
        kind: Kind,
        space: int,
        pages: npt.NDArray[np.int64],
        value: Cells = 0,
        node: Cells = 0,
    ) -> None:
        """Add events for `pages`, ascending; neighbours of one value and node become one row."""
        if not len(pages):
            return
        values = np.broadcast_to(np.asarray(value, np.int64), len(pages))
        nodes = np.broadcast_to(np.asarray(node, np.uint8), len(pages))
        breaks = (np.diff(pages) != 1) | (np.diff(values) != 0) | (np.diff(nodes) != 0)
        starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
        lengths = np.diff(starts, append=len(pages))
        self.add(time_ns, int(kind), space, pages[starts], lengths, values[starts], nodes[starts])

    def events(self) -> Events:
        """Every event so far, as the columns of a trace."""
        self._close_chunk()
        if not self._chunks:
            self.add(np.zeros(0, np.int64), 0, 0)
        columns = [np.concatenate(column) for column in zip(*self._chunks, strict=True)]
        for column in columns:
            column.setflags(write=False)
        time_ns, kind, space, page, n_pages, value, node, name = columns
        return Events(time_ns, kind, space, page, n_pages, value, node, name)
