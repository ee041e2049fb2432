"""What is explained: mappings with a verdict each, and the pages in them that hold a frame."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Verdict:
    """Whether KSM can merge pages of a mapping: `code` for programs, `why` and `remedy` for people.

    `able`: the kernel allows it. `asked`: somebody asked for it (madvise or prctl), so that ksmd looks at it.
    """

    code: str
    able: bool
    asked: bool
    why: str
    remedy: str = ""

    @property
    def could_be_able(self) -> bool:
        """Whether its contents would merge if it were mapped otherwise: shared memory that no file on disk backs."""
        return self.able or self.code in ("shared memory", "hugetlb")


@dataclass
class Area:
    """Pages [start, end) of the address space in row `space` that have one name and one verdict; counts in pages."""

    space: int
    start: int
    end: int
    name: str
    verdict: Verdict
    notes: tuple[str, ...] = ()
    n_mappings: int = 1
    counts: dict[str, int] = field(default_factory=dict)  # what only one of the sources knows: merged, swapped, …

    @property
    def n_pages(self) -> int:
        """How many pages it spans."""
        return self.end - self.start


@dataclass
class Space:
    """An address space; `facts` are what the kernel says of its merging, where it does."""

    pid: int | None
    name: str
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Held(NamedTuple):
    """The pages that hold a frame and whose content is known; one element per page."""

    area: npt.NDArray[np.int64]  # row of the areas
    frame: npt.NDArray[np.int64]  # numbers from 0 on: pages that share a frame have one
    rank: npt.NDArray[np.int64]  # of the content in byte order, 0 is the zero page


@dataclass
class Subject:
    """Everything that is explained, at one moment."""

    source: dict[str, Any]
    page_size: int
    spaces: list[Space]
    areas: list[Area]
    held: Held
    lcp: npt.NDArray[np.uint16]  # of each content with the one before in byte order
    words: npt.NDArray[np.uint64] | None = None  # contents, where their bytes are at hand
    stored: npt.NDArray[np.int64] | None = None  # which content of `words` has each rank
    ksm: dict[str, int | str] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)  # what to know before anything else


def combined(areas: Iterable[Area]) -> list[Area]:
    """Join neighbours in address that have one name and verdict, as a heap that mprotect cut into pieces."""
    result: list[Area] = []
    for area in areas:
        last = result[-1] if result else None
        if (
            last is not None
            and (last.space, last.end, last.name, last.verdict) == (area.space, area.start, area.name, area.verdict)
            and last.notes == area.notes
        ):
            last.end = area.end
            last.n_mappings += area.n_mappings
            for key, n in area.counts.items():
                last.counts[key] = last.counts.get(key, 0) + n
        else:
            result.append(area)
    return result
