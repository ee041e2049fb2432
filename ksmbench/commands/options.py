"""What the commands' options mean: settings, samples, sizes."""

from typing import TYPE_CHECKING

from ksmbench.errors import UsageError

if TYPE_CHECKING:
    import click

# For shell completion, which must not wait for numba; a test compares them with DESIGNS.
DESIGN_NAMES = ("ksm-6.18", "none", "oracle")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def complete_designs(context: "click.Context", parameter: "click.Parameter", incomplete: str) -> list[str]:
    """The designs that begin so, for shell completion."""
    return [name for name in DESIGN_NAMES if name.startswith(incomplete)]


def parse_settings(given: tuple[str, ...]) -> dict[str, int]:
    """The integers of NAME=VALUE texts; a name given twice keeps its last value."""
    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            settings[name.strip()] = int(value)
        except ValueError:
            raise UsageError(f'--set "{text}": write NAME=VALUE with an integer, as in pages_to_scan=1000') from None
        if not equals or not name.strip():
            raise UsageError(f'--set "{text}": write NAME=VALUE, as in pages_to_scan=1000')
    return settings


def parse_sample(text: str) -> str | float:
    """Seconds where `text` is a number, else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def parse_size(text: str) -> int:
    """Bytes of "800M", "8G" or a plain number."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    try:
        size = float(number) * _UNITS[unit]
        if 0 < size < 1 << 60:
            return int(size)
    except (ValueError, KeyError, OverflowError):
        pass
    raise UsageError(f'size "{text}": write a number of bytes above 0, or with K, M, G or T, as in 8G')
