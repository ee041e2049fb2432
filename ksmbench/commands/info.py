"""`ksmbench info`."""

from pathlib import Path

import click

from ksmbench.commands.progress import progress_bar


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def info(trace: Path, as_json: bool) -> None:
    """Say what is in TRACE, after checking every rule of the format.

    Spaces, events, sizes, duplicates within and across spaces, what an oracle would save, how the capture went, and
    what is odd about it. The start is the trace's first instant after all events of that time.

    Example: ksmbench info traces/debian-idle-x4
    """
    import json

    from ksmbench.trace.describe import describe
    from ksmbench.trace.show import show
    from ksmbench.trace.store import open_trace

    with progress_bar("reading") as progress:
        facts = describe(open_trace(trace), progress=progress)
    click.echo(json.dumps(facts, indent=2) if as_json else show(facts))
