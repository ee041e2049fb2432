"""The advisor's formula against the worked examples of the specification (6), in the twin and in the engine."""

import pytest

from ksmbench.designs.ksm import state as at
from ksmbench.designs.ksm.advisor import advise
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import DUE, Machine
from tests.naive.advisor import Advisor

_EXAMPLES = (
    ([(1, 10), (1, 40), (1, 50), (2, 300), (2, 300)], [5000, 12500, 25000, 16660, 11100]),
    (
        [(400, 20000), (400, 40000), (350, 60000), (250, 80000), (210, 80000), (200, 80000)],
        [1000, 1020, 1091, 872, 641, 493],
    ),
)
_SETTINGS = {"advisor_target_scan_time": 200, "advisor_max_cpu": 70, "advisor_max_pages_to_scan": 30000}


@pytest.mark.parametrize(("scans", "expected"), _EXAMPLES)
def test_worked_examples(scans: list[tuple[int, int]], expected: list[int]) -> None:
    """Each full scan: its seconds and the ms of CPU that it took; from 500 pages on."""
    twin, machine = Advisor(), Machine()
    m = machine.m
    m[at.PAGES_TO_SCAN], m[at.ADVISOR_TARGET_SCAN_TIME] = 500, _SETTINGS["advisor_target_scan_time"]
    m[at.ADVISOR_MAX_CPU], m[at.ADVISOR_MAX_PAGES_TO_SCAN] = 70, 30000
    pages, cpu_ns, now = 500, 0, 0
    by_twin, by_engine = [], []
    for seconds, cpu_ms in scans:
        cpu_ns += cpu_ms * 1_000_000
        pages = twin.advise(seconds * 1_000_000_000, cpu_ns, pages, _SETTINGS)
        by_twin.append(pages)
        m[at.SCAN_START] = now
        now += seconds * 1_000_000_000
        m[DUE], m[Counter.CPU_NS] = now, cpu_ns
        advise(machine, 0)
        by_engine.append(int(m[at.PAGES_TO_SCAN]))
    assert by_twin == expected
    assert by_engine == expected
