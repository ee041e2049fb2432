"""What a design is: a name, its settings, its source, and one compiled loop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One setting, named as the kernel's file under /sys/kernel/mm/ksm; integers from `minimum` to `maximum`."""

    name: str
    default: int
    minimum: int
    maximum: int
    meaning: str


@dataclass(frozen=True)
class Design:
    """One way to merge equal pages, as an entry of `ksmbench.designs.DESIGNS`."""

    name: str  # as typed on the command line
    summary: str  # one sentence
    source: str  # kernel release, paper section or mail
    settings: tuple[Setting, ...] = ()
    counters: tuple[str, ...] = ()  # columns of `samples` that it has; the others are null
    space_counters: tuple[str, ...] = ()  # the same of `spaces`
    run: Callable[..., Any] = field(repr=False, default=lambda: None)
