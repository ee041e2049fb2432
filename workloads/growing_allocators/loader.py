"""A program that loads a table into columns which grow as rows come: an array each, a byte buffer, and lists.

    python -m workloads.growing_allocators.loader DATA_SET SECONDS

CPython grows each by realloc; for blocks this large the C library does that by mremap, which moves the block wherever
its neighbour leaves no room. Rows are a function of the data set's number: programs with one number load the same.
"""

import random
import sys
import time
from array import array

from workloads.mergeable import advise_all

_ROWS = 650_000
_STEP = 2_000  # rows that come at once
_PAUSE_S = 0.1
_TEXTS = [f"row text {i:03d} " * 3 for i in range(256)]


class Table:
    """The columns of one data set."""

    def __init__(self, data_set: int) -> None:
        self._random = random.Random(data_set)
        self.ids, self.prices, self.flags = array("q"), array("d"), array("B")
        self.text = bytearray()
        self.labels: list[str] = []

    def add(self, n: int) -> None:
        """Append `n` rows."""
        first = len(self.ids)
        self.ids.extend(range(first, first + n))
        self.prices.extend(self._random.random() for _ in range(n))
        self.flags.extend(i % 7 for i in range(n))
        self.labels.extend(_TEXTS[i % 256] for i in range(first, first + n))
        for i in range(first, first + n, 4):
            self.text += _TEXTS[i % 251].encode()

    def finish(self) -> None:
        """Sort one column, as a report does, and give back what it no longer needs."""
        self.prices = array("d", sorted(self.prices))
        del self.text[len(self.text) // 3 :]
        del self.labels[: len(self.labels) // 2]


def main() -> None:
    """Load tables one after the other for as long as told."""
    data_set, seconds = int(sys.argv[1]), float(sys.argv[2])
    end = time.monotonic() + seconds

    while time.monotonic() < end:
        table = Table(data_set)
        while len(table.ids) < _ROWS and time.monotonic() < end:
            table.add(_STEP)
            advise_all()  # a block that is new; one that grew or moved keeps the advice
            time.sleep(_PAUSE_S)
        table.finish()
        data_set += 100


if __name__ == "__main__":
    main()
