"""What is mapped in an address space, as the calls so far tell."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mapped:
    """Pages start .. end of an address space, mapped as one."""

    start: int
    end: int
    kind: int
    name: str
    advice: frozenset[int] = frozenset()


def _start(area: Mapped) -> int:
    return area.start


def _end(area: Mapped) -> int:
    return area.end


@dataclass
class Memory:
    """An address space: its number, the end of the heap in bytes, and who has it."""

    space: int
    areas: list[Mapped] = field(default_factory=list)  # disjoint, ascending: found by bisection
    heap_end: int = 0
    merges_any: bool = False
    users: set[int] = field(default_factory=set)  # processes

    def within(self, start: int, end: int) -> list[Mapped]:
        """The parts of mappings in the pages start .. end, ascending."""
        first, last = self._places(start, end)
        return [_part(area, max(area.start, start), min(area.end, end)) for area in self.areas[first:last]]

    def _places(self, start: int, end: int) -> tuple[int, int]:
        # The areas that reach into the pages start .. end are areas[first:last].
        first = bisect_right(self.areas, start, key=_end)
        return first, bisect_left(self.areas, end, key=_start) if start < end else first

    def cut_out(self, start: int, end: int) -> list[Mapped]:
        """Take the pages start .. end out; returns the parts that were there."""
        gone = self.within(start, end)
        first, last = self._places(start, end)
        kept = []
        for area in self.areas[first:last]:
            if area.start < start:
                kept.append(_part(area, area.start, start))
            if end < area.end:
                kept.append(_part(area, end, area.end))
        self.areas[first:last] = kept
        return gone

    def put(self, area: Mapped) -> None:
        """Map it, in place of what is there."""
        self.cut_out(area.start, area.end)
        place = bisect_left(self.areas, area.start, key=_start)
        self.areas.insert(place, area)

    def put_all(self, areas: Iterable[Mapped]) -> None:
        """The same of several."""
        for area in areas:
            self.put(area)

    def at(self, page: int) -> Mapped | None:
        """What the page is in."""
        first, last = self._places(page, page + 1)
        return self.areas[first] if first < last else None


def _part(area: Mapped, start: int, end: int) -> Mapped:
    if (start, end) == (area.start, area.end):
        return area
    return Mapped(start, end, area.kind, area.name, area.advice)
