"""What `cut`, `combine` and `import` say of the trace that they made."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ksmbench.errors import UsageError
from ksmbench.outputs import refuse_closed

if TYPE_CHECKING:
    from ksmbench.trace.columns import Trace


def refuse_in_the_way(output: Path, force: bool) -> None:
    """Raise `UsageError` where `output` exists, or nothing can be made there, before any work."""
    if output.exists() and not force:
        raise UsageError(f"{output} exists already; choose another name or pass --force")
    refuse_closed(output)


def print_made(output: Path, trace: "Trace", notes: Sequence[str], as_json: bool) -> None:
    """Print a table of what was written to `output`, and what is to be known about it."""
    times = trace.events.time_ns
    seconds = (int(times[-1]) - int(times[0])) / 1e9 if len(times) else 0.0
    size = sum(file.stat().st_size for file in output.iterdir())
    facts: dict[str, Any] = {
        "trace": str(output),
        "spaces": len(trace.spaces),
        "events": len(times),
        "distinct_contents": len(trace.contents.lcp),
        "seconds": seconds,
        "file_bytes": size,
        "notes": list(notes),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    rows = [
        ("spaces", f"{facts['spaces']:,}"),
        ("events", f"{facts['events']:,}"),
        ("distinct contents", f"{facts['distinct_contents']:,}"),
        ("seconds", f"{seconds:,.3f}"),
        ("size", f"{size / 2**20:,.2f} MiB"),
    ]
    click.echo(f"{output}:")
    click.echo("\n".join(f"  {name:<20}{value}" for name, value in rows))
    for note in notes:
        click.echo(note)
