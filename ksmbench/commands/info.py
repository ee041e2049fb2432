"""`ksmbench info`."""

from pathlib import Path

import click

from ksmbench.commands import shared
from ksmbench.commands.progress import progress_bar

_ROWS = 3  # of the mappings that have one reason


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@shared.as_json
def info(trace: Path, as_json: bool) -> None:
    """Say what is in TRACE, after checking every rule of the format.

    Spaces, events, sizes, duplicates within and across spaces, what an oracle would save, how the capture went, and
    what is odd about it; which mappings could merge and why others cannot (`ksmbench explain` tells more). The start
    is the trace's first instant after all events of that time.

    \b
    Example: ksmbench info traces/debian-idle-x4
    """
    import json

    from ksmbench.explaining.recorded import explained_trace
    from ksmbench.explaining.report import explain
    from ksmbench.explaining.show import show_mappings
    from ksmbench.trace.describe import describe
    from ksmbench.trace.show import show
    from ksmbench.trace.store import open_trace

    opened = open_trace(trace)
    with progress_bar("reading") as progress:
        facts = describe(opened, progress=progress)
    merging = explain(explained_trace(opened))
    if as_json:
        facts["merging"] = {name: merging[name] for name in ("mappings", "savings", "differences")}
        click.echo(json.dumps(facts, indent=2))
        return
    lines = [show(facts), "", "Merging, at the end", *show_mappings(merging, limit=_ROWS)]
    click.echo("\n".join(lines))
