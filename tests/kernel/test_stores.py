"""What each file under /sys/kernel/mm/ksm takes, and what it then holds: kernel, engine and twin alike (8.12)."""

import numpy as np
import pytest

from ksmbench import designs
from ksmbench.designs.ksm.features import find_features
from ksmbench.designs.ksm.release import files_of
from ksmbench.engine.drive import Timing
from ksmbench.engine.machine import REFUSED, Machine
from ksmbench.engine.plan import make_plan
from ksmbench.trace.schema import Kind
from ksmbench.validate.making import Row, make_contents, make_trace
from ksmbench.validate.sysfs import KsmSession, read, store
from tests.kernel.needs import needs_kernel
from tests.naive.ksm import Ksm
from tests.naive.memory import Memory
from tests.naive.tuning import tune

_FEATURES = find_features((6, 18), 44)
_DEFAULTS = {setting.name: setting.default for setting in designs.find("ksm-6.18").settings}
# Of one digit and of several that begin with it; to both sides of 2^31, 2^32 and 2^63, and what 2^32 cut off changes.
_VALUES = [-(1 << 63), -1, 0, 1, 2, 3, 9, 10, 19, 20, 99, 100, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
_VALUES += [1 << 32, (1 << 32) + 1, (1 << 32) + 5, 7 << 40, 1 << 62, (1 << 63) - 1]
_APART = ("run", "advisor_mode")  # run acts at once, advisor_mode is told by a word
# Settings before the store, if not the defaults, the file, and the value.
_CASES = [({}, name, value) for name in _DEFAULTS if name not in _APART for value in _VALUES]
_CASES += [({"advisor_mode": 1, "advisor_min_pages_to_scan": 7}, "pages_to_scan", value) for value in (7, 100)]

Stored = tuple[bool, int]  # whether it was taken, and what the file holds then


def _by_kernel(before: dict[str, int], name: str, value: int) -> Stored:
    store("advisor_mode", "none")  # with it pages_to_scan could not be stored
    others = {setting: number for setting, number in (_DEFAULTS | before).items() if setting not in _APART}
    for setting, number in others.items():
        store(setting, number)
    store("advisor_mode", ("none", "scan-time")[before.get("advisor_mode", 0)])
    try:
        store(name, value)
    except OSError:
        return False, int(read(name))
    return True, int(read(name))


def _by_twin(before: dict[str, int], name: str, value: int) -> Stored:
    ksm = Ksm(Memory(_FEATURES), [0], [0], _FEATURES, before, [])
    taken = tune(ksm, name, value)
    return taken, ksm.settings[name]


def _by_engine(before: dict[str, int], name: str, value: int) -> Stored:
    rows: list[Row] = [(0, Kind.MAP, 0, 0x1000, 4, 0), (0, Kind.TUNE, 0, 0, 0, value)]  # ksmd has nothing to do
    trace = make_trace(rows, make_contents(np.random.default_rng(1), 3), (name,), {1: 0})
    design = designs.find("ksm-6.18")
    seen: list[Stored] = []

    def look(machine: Machine) -> None:
        seen.append((not machine.m[REFUSED], int(machine.m[files_of(_FEATURES)[name]])))

    timing = Timing(start_ns=0, until_ns=1, listed=np.zeros(1, np.int64), look=look)
    design.run(trace, make_plan(trace), designs.complete_settings(design, before), timing)
    return seen[0]


def _told(before: dict[str, int], name: str, value: int) -> str:
    return f"{value} into {name}" + (f" with {before}" if before else "")


def test_the_engine_stores_what_the_twin_does() -> None:
    wrong = [_told(*case) for case in _CASES if _by_engine(*case) != _by_twin(*case)]
    assert wrong == []


@needs_kernel
def test_the_kernel_stores_what_the_twin_does() -> None:
    with KsmSession():
        wrong = [_told(*case) for case in _CASES if _by_kernel(*case) != _by_twin(*case)]
        store("advisor_mode", "none")
    assert wrong == []


@pytest.mark.parametrize(("name", "value"), [("smart_scan", 10), ("advisor_max_cpu", 1 << 32)])
def test_these_are_taken(name: str, value: int) -> None:
    """So that the cases above cannot all be refusals."""
    assert _by_twin({}, name, value) == (True, {"smart_scan": 1, "advisor_max_cpu": 0}[name])
