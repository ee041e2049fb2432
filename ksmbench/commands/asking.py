"""What to say where a replay saves nothing because nobody asked for merging."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ksmbench.trace.columns import Events


def note_nobody_asked(summary: Iterable[Mapping[str, object]], traces: Iterable[str], mergeable: str) -> None:
    """Where no row of `summary` has a saving, print to standard error in which of `traces` no process asks for one."""
    from ksmbench.trace.store import open_trace

    if mergeable != "as-is" or any(row["oracle_saved_bytes"] or row["saved_bytes"] for row in summary):
        return
    for trace in traces:
        if not _anybody_asks(open_trace(trace).events):
            click.echo(
                f"note: in {trace} nobody asks for merging (no madvise, no prctl), so there is nothing to save; "
                "--mergeable all replays it as if all that can be merged had asked",
                err=True,
            )


def _anybody_asks(events: "Events") -> bool:
    from ksmbench.trace.schema import Advice, Kind

    advised = (events.kind == Kind.MADVISE) & (events.value == Advice.MERGEABLE)
    return bool((advised | (events.kind == Kind.PRCTL) & (events.value == 1)).any())
