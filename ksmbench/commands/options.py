"""What the commands' options mean: settings, samples, sizes."""

from collections.abc import Container
from typing import TYPE_CHECKING

from ksmbench.errors import UsageError
from ksmbench.policies import POLICIES
from ksmbench.trace.schema import SETTINGS

if TYPE_CHECKING:
    import click

# For shell completion, which must not wait for numba; a test compares them with DESIGNS.
DESIGN_NAMES = (
    "ksm-7.3",
    "ksm-6.19",
    "ksm-6.18",
    "ksm-6.18.0",
    "ksm-6.17",
    "ksm-6.17.4",
    "ksm-6.17.0",
    "ksm-6.12",
    "ksm-6.12.54",
    "ksm-6.12.0",
    "ksm-6.11",
    "ksm-6.10",
    "ksm-6.9",
    "ksm-6.9.3",
    "ksm-6.9.0",
    "ksm-6.8",
    "ksm-6.8.0",
    "ksm-6.7",
    "ksm-6.6",
    "ksm-6.6.0",
    "ksm-6.4",
    "ksm-6.1",
    "ksm-6.1.0",
    "ksm-5.19",
    "ksm-5.15",
    "ksm-5.15.0",
    "ksm-5.10",
    "ksm-5.10.0",
    "ksm-5.9",
    "ksm-5.1",
    "ksm-5.0",
    "ksm-4.17",
    "ksm-4.13",
    "ksm-4.11",
    "ksm-4.5",
    "ksm-4.4",
    "ksm-3.9",
    "ksm-2.6.38",
    "ksm-2.6.33",
    "ksm-2.6.32",
    "ksm-rollup-2009",
    "madvise-rfc-2009",
    "devksm-2009",
    "none",
    "oracle",
)
POLICY_NAMES = tuple(POLICIES)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def complete_designs(context: "click.Context", parameter: "click.Parameter", incomplete: str) -> list[str]:
    """The designs that begin so, and after a comma the settings, for shell completion."""
    before, comma, last = incomplete.rpartition(",")
    if comma:
        return [f"{before},{setting}" for setting in _settings_and_policies(last)]
    return [name for name in DESIGN_NAMES if name.startswith(incomplete)]


def complete_policies(context: "click.Context", parameter: "click.Parameter", incomplete: str) -> list[str]:
    """The policies that begin so, for shell completion."""
    return [name for name in POLICY_NAMES if name.startswith(incomplete)]


def complete_settings(context: "click.Context", parameter: "click.Parameter", incomplete: str) -> list[str]:
    """The settings that begin so, each with its "=", for shell completion."""
    return [f"{name}=" for name in SETTINGS if name.startswith(incomplete)]


def complete_vary(context: "click.Context", parameter: "click.Parameter", incomplete: str) -> list[str]:
    """The same where who turns the settings may be varied too."""
    before, comma, last = incomplete.rpartition(",")
    if comma and before.startswith("policy="):
        return [f"{before},{name}" for name in POLICY_NAMES if name.startswith(last)]
    return _settings_and_policies(incomplete)


def _settings_and_policies(incomplete: str) -> list[str]:
    # Settings with their "=", or after "policy=" the policies.
    if incomplete.startswith("policy="):
        return [f"policy={name}" for name in POLICY_NAMES if f"policy={name}".startswith(incomplete)]
    return [f"{name}=" for name in (*SETTINGS, "policy") if name.startswith(incomplete)]


def parse_settings(given: tuple[str, ...], worded: Container[str] = ()) -> dict[str, int | str]:
    """The integers of NAME=VALUE texts, and the texts of what is `worded`; a name given twice keeps its last value."""
    settings: dict[str, int | str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise UsageError(f'--set "{text}": write NAME=VALUE, as in pages_to_scan=1000')
        try:
            settings[name] = value if name in worded else int(value)
        except ValueError:
            raise UsageError(f'--set "{text}": write NAME=VALUE with an integer, as in pages_to_scan=1000') from None
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


def parse_share(text: str) -> float:
    """The part of 1 that "10%" or "10" is."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise UsageError(f'"{text}": write per cent above 0 and up to 100, as in 10%')
    return share


def parse_seconds(text: str) -> float:
    """Seconds of "300s", "5m", "1h" or a plain number."""
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
        if 0 <= seconds < 1e9:
            return seconds
    except (ValueError, KeyError):
        pass
    raise UsageError(f'time "{text}": write a number of seconds, or with s, m or h, as in 300s')
