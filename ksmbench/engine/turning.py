"""Lets somebody outside the engine turn settings while a replay runs.

The compiled loop stops at times that are known before, after all events of that time and before a batch of it. What is
stored then goes through the design's own handling of `tune` events, so a store has the effects and the limits that it
has on a kernel: the loop is given a trace of these stores alone, and its own back afterwards.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ksmbench.engine.clock import NEVER
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    ACTOR,
    EVENT,
    FIRST,
    IGNORE_TUNE,
    KIND,
    LAST,
    NAME,
    NEXT_LOOK,
    NOW,
    REFUSED,
    SHOWN,
    TIME_NS,
    VALUE,
    Machine,
)
from ksmbench.engine.samples import ASK
from ksmbench.trace.schema import Kind

SHOWN_SETTINGS = ("run", "pages_to_scan", "sleep_millisecs")  # columns of a sample after the counters
_EVENT_COLUMNS = (TIME_NS, KIND, ACTOR, FIRST, LAST, VALUE, NAME)


@dataclass(frozen=True)
class Reading:
    """What can be read of a replay at a moment."""

    now_ns: int
    frames: int
    pages_anon: int
    settings: dict[str, int]


Decide = Callable[[Reading], Mapping[str, int]]


@dataclass(frozen=True)
class Turner:
    """Who turns settings: asked at `first_ns` and every `period_ns` from there."""

    start: Callable[[], Decide]
    first_ns: int
    period_ns: int
    names: tuple[str, ...]  # of the trace, whose rows events name; every setting that is turned is among them


def show_settings(machine: Machine, files: Mapping[str, int]) -> None:
    """Let samples say what SHOWN_SETTINGS are; `files` are the scalars of a design's settings."""
    for i, name in enumerate(SHOWN_SETTINGS):
        machine.m[SHOWN + i] = files.get(name, 0)


class Turning:
    """One run of a `Turner`."""

    def __init__(self, turner: Turner, machine: Machine, files: Mapping[str, int]) -> None:
        self._turner = turner
        self._machine = machine
        self._files = files
        self._rows = {name: row for row, name in enumerate(turner.names)}
        self._decide = turner.start()
        self.stores: list[tuple[int, str, int]] = []
        self.refused = 0
        machine.m[NEXT_LOOK] = turner.first_ns

    def act(self, step: Callable[[], int]) -> None:
        """The loop, of which `step` is a call, has stopped for it: ask, store, set the next time."""
        m = self._machine.m
        now = int(m[NOW])
        settings = {name: int(m[scalar]) for name, scalar in self._files.items()}
        reading = Reading(now, int(m[Counter.FRAMES]), int(m[Counter.PAGES_ANON]), settings)
        wanted = dict(self._decide(reading))
        if wanted:
            self.stores += [(now, name, value) for name, value in wanted.items()]
            self._store(wanted, now, step)
        following = now + self._turner.period_ns
        m[NEXT_LOOK] = following if self._turner.period_ns and following < NEVER else NEVER

    def _store(self, wanted: dict[str, int], now: int, step: Callable[[], int]) -> None:
        machine = self._machine
        m = machine.m
        kept = {column: machine[column] for column in _EVENT_COLUMNS}
        event, ignore, refused = int(m[EVENT]), int(m[IGNORE_TUNE]), int(m[REFUSED])
        n = len(wanted)
        own = {
            TIME_NS: np.full(n, now),
            KIND: np.full(n, Kind.TUNE),
            NAME: np.array([self._rows[name] for name in wanted]),
            VALUE: np.array(list(wanted.values())),
        }
        for column, old in kept.items():
            machine[column] = own.get(column, np.zeros(n)).astype(old.dtype)
        m[EVENT] = m[IGNORE_TUNE] = 0
        m[NEXT_LOOK] = now
        while step() != ASK:  # the loop does the stores, for they are due, and stops again as it did before
            pass
        for column, old in kept.items():
            machine[column] = old
        self.refused += int(m[REFUSED]) - refused
        m[EVENT], m[IGNORE_TUNE], m[REFUSED] = event, ignore, refused
