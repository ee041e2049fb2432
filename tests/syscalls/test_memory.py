"""What is mapped, against a dictionary of pages."""

import random

import pytest

from ksmbench.syscalls.memory import Mapped, Memory

_PAGES = 40


def _pages(areas: list[Mapped]) -> dict[int, str]:
    return {page: area.name for area in areas for page in range(area.start, area.end)}


@pytest.mark.parametrize("seed", range(20))
def test_mappings_come_and_go_as_pages_do(seed: int) -> None:
    chance = random.Random(seed)
    memory, known = Memory(0), dict[int, str]()
    for number in range(60):
        start, end = sorted(chance.sample(range(_PAGES), 2))
        inside = {page: name for page, name in known.items() if start <= page < end}
        assert _pages(memory.within(start, end)) == inside
        if chance.random() < 0.6:
            memory.put(Mapped(start, end, 0, str(number)))
            known |= dict.fromkeys(range(start, end), str(number))
        else:
            assert _pages(memory.cut_out(start, end)) == inside
            known = {page: name for page, name in known.items() if page not in inside}
        assert _pages(memory.areas) == known
        assert all(a.start < a.end <= b.start for a, b in zip(memory.areas, memory.areas[1:], strict=False))
        page = chance.randrange(_PAGES)
        found = memory.at(page)
        assert (found.name if found else None) == known.get(page)


def test_a_range_without_pages_changes_nothing() -> None:
    memory = Memory(0, [Mapped(2, 9, 0, "a")])
    assert memory.cut_out(5, 5) == []
    assert memory.areas == [Mapped(2, 9, 0, "a")]
