"""Stores of a trace into the settings of 2009: which one an event names, and those that are numbers and no more."""

from ksmbench.designs.review.state import (
    MAX_KERNEL_PAGES,
    PAGES_TO_SCAN,
    SETTING_OF,
    SLEEP,
    SLEEP_MILLISECS,
)
from ksmbench.engine.machine import NAME, Vector, i32
from ksmbench.engine.parts import part
from ksmbench.jit import Integer

UNSIGNED_MAX = (1 << 32) - 1


@part
def setting_of(m: Vector, i: Integer) -> Integer:
    """The scalar of the setting that `tune` event `i` names, or -1 where the design has it not."""
    name = i32(m, NAME)[i]
    return i32(m, SETTING_OF)[name] if name >= 0 else -1


@part
def store_number(m: Vector, setting: Integer, value: Integer) -> Integer:
    """Store a setting that is a number and nothing else; whether it is one of these and takes the value."""
    if value < 0:
        return False
    paces = setting == PAGES_TO_SCAN or setting == SLEEP_MILLISECS or setting == SLEEP
    if setting == MAX_KERNEL_PAGES or (paces and value <= UNSIGNED_MAX):
        m[setting] = value
        return True
    return False
