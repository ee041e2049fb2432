"""What synthetic workloads have in common: their command, and the checks of their parameters."""

from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import click

from ksmbench.errors import UsageError
from ksmbench.recipes import Value, find, parse
from ksmbench.trace.columns import Trace
from ksmbench.trace.store import write_trace
from workloads.commands import WorkloadCommand, output_options

_MAX = 1e12  # of a parameter that has no bound of its own
MAX_EVENTS = 50_000_000  # 3 GB of memory while they are sorted


class Told(Protocol):
    """A workload: a dataclass of its parameters, which knows the events."""

    def tell(self) -> Trace:
        """The trace."""


def check(
    workload: Any,
    *,
    parts: tuple[str, ...] = (),
    least: dict[str, float] | None = None,
    most: dict[str, float] | None = None,
) -> None:
    """Refuse parameters that mean nothing: `parts` are 0 to 1, others at least 0 or what `least` says."""
    for field in fields(workload):
        value = getattr(workload, field.name)
        low, high = (least or {}).get(field.name, 0), (most or {}).get(field.name, _MAX)
        if field.name in parts:
            high = 1
        if not low <= value <= high:  # NaN is neither
            raise UsageError(f"{field.name}={value}: it must be {low:g} to {high:g}")


def check_events(n: float) -> None:
    """Refuse what would have more events than memory is good for."""
    if n > MAX_EVENTS:
        raise UsageError(f"these parameters make about {n:,.0f} events; at most {MAX_EVENTS:,} are made")


def make(name: str, kind: type[Told], given: dict[str, Value]) -> Trace:
    """The trace of the workload `name` with these parameters in place of its file's."""
    return kind(**find(name).settings | given).tell()


def synthesizer(name: str, kind: type[Told]) -> click.Command:
    """The command that makes the workload `name` as a trace."""
    recipe = find(name)

    def call(output: Path, given: tuple[str, ...], force: bool) -> None:
        write_trace(make(name, kind, parse(recipe, given, None)), output, force=force)

    given = click.Option(["--set", "given"], multiple=True, metavar="PARAMETER=VALUE", help="Other than in the file.")
    return WorkloadCommand(name, callback=call, params=[*output_options(), given], help=recipe.stands_for)
