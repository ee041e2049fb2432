"""What a design is: a name, its settings, its source, and one compiled loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ksmbench.engine.plan import BYTES_PER_ENTRY
from ksmbench.errors import UsageError

Value = int | str  # of a setting, as results and texts show it
Given = int | str | Sequence[str]  # the same as people write it

# families of designs, in the order in which they are listed
RELEASES = "releases of Linux"
OF_2009 = "designs of 2009"
BOUNDS = "bounds"

NOTHING = "none"  # written for a set without words
EVERYTHING = "all"  # may be given for a set of all words


@dataclass(frozen=True)
class Setting:
    """One setting, named as the kernel's file under /sys/kernel/mm/ksm where there is one.

    It takes integers from `minimum` to `maximum`. With `choices` it takes one of these words instead, and with `many`
    a set of them, separated by commas; make those with `of_words`. The engine always sees an integer, its code.
    """

    name: str
    default: Value
    minimum: int  # with choices: of the code
    maximum: int
    meaning: str
    choices: tuple[str, ...] = ()
    many: bool = False

    @classmethod
    def of_words(
        cls, name: str, default: str, choices: tuple[str, ...], meaning: str, *, many: bool = False
    ) -> "Setting":
        """A setting that is one of `choices`, or with `many` a set of them."""
        maximum = (1 << len(choices)) - 1 if many else len(choices) - 1
        setting = cls(name, default, 0, maximum, meaning, choices, many)
        assert setting.canonical(default) == default
        return setting

    @property
    def takes(self) -> str:
        """What may be given, as the end of a sentence that begins with "must be"."""
        if self.many:
            return f'words of {", ".join(self.choices)}, with commas between them, or "{EVERYTHING}" or "{NOTHING}"'
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return f"an integer from {self.minimum} to {self.maximum}"

    def canonical(self, given: Given) -> Value:
        """`given` as results show it: an int, a word, or words in the order of `choices`; raises `UsageError`."""
        if self.many:
            return self._set_of(given)
        if self.choices:
            if isinstance(given, str) and given in self.choices:
                return given
        elif isinstance(given, int) and self.minimum <= given <= self.maximum:
            return int(given)
        raise self._mistake(given)

    def code(self, value: Value) -> int:
        """What the engine sees: an integer as it is, the place of a word, or with `many` bit i for the word i."""
        if isinstance(value, int):
            return value
        if not self.many:
            return self.choices.index(value)
        return sum(1 << self.choices.index(word) for word in value.split(",") if value != NOTHING)

    def _set_of(self, given: Given) -> str:
        words = given.split(",") if isinstance(given, str) else given
        if isinstance(words, int) or not all(isinstance(word, str) for word in words):
            raise self._mistake(given)
        chosen = [word.strip() for word in words]
        if chosen == [EVERYTHING]:
            return ",".join(self.choices)
        if chosen in ([], [""], [NOTHING]):
            return NOTHING
        if not set(chosen) <= set(self.choices):
            raise self._mistake(given)
        return ",".join(word for word in self.choices if word in chosen)

    def _mistake(self, given: Given) -> UsageError:
        return UsageError(f"{self.name}={given}: must be {self.takes} ({self.meaning})")


@dataclass(frozen=True)
class Design:
    """One way to merge equal pages, as an entry of `ksmbench.designs.DESIGNS`."""

    name: str  # as typed on the command line
    summary: str  # one sentence
    source: str  # kernel release, paper section or mail
    family: str  # the heading under which it is listed
    settings: tuple[Setting, ...] = ()
    counters: tuple[str, ...] = ()  # columns of `samples` that it has; see `ksmbench.engine.counters` for the others
    space_counters: tuple[str, ...] = ()  # the same of `spaces`
    bytes_per_entry: int = BYTES_PER_ENTRY  # that a replay holds
    run: Callable[..., Any] = field(repr=False, default=lambda: None)

    @property
    def worded(self) -> frozenset[str]:
        """The settings that take words."""
        return frozenset(setting.name for setting in self.settings if setting.choices)
