"""`ksmbench cut`."""

from pathlib import Path

import click

from ksmbench.commands import shared
from ksmbench.commands.options import parse_size
from ksmbench.commands.progress import progress_bar


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@shared.new_trace
@click.option("--from", "from_s", type=float, help="Seconds of trace time at which it begins [default: the beginning].")
@click.option("--until", "until_s", type=float, help="Seconds of trace time at which it ends [default: the end].")
@click.option(
    "--spaces", multiple=True, metavar="PATTERN", help="Keep the spaces with such names (or this number); repeatable."
)
@click.option("--label", default="", help="A name for plots [default: the trace's, with a note].")
@shared.max_memory_of_trace
@shared.force_trace
@shared.as_json
def cut(
    trace: Path,
    output: Path,
    from_s: float | None,
    until_s: float | None,
    spaces: tuple[str, ...],
    label: str,
    max_memory: str,
    force: bool,
    as_json: bool,
) -> None:
    """Make a trace of a part of TRACE: a window of its time, some of its spaces.

    The memory that is there as the window begins becomes events at time 0, frames that fork shares included; so at
    every moment the cut holds what the whole holds then. Merging begins anew.

    \b
    Example: ksmbench cut traces/debian-busy-x4 -o minute --from 10 --until 70
             ksmbench cut traces/debian-busy-x4 -o one --spaces guest-1
    """
    from ksmbench.commands.reshaped import print_made, refuse_in_the_way
    from ksmbench.reshape.contents import kept_pages
    from ksmbench.reshape.cut import cut as run
    from ksmbench.trace.store import open_trace, write_trace
    from ksmbench.trace.tables import has_pages

    refuse_in_the_way(output, force)
    limit = parse_size(max_memory)
    whole = open_trace(trace, max_memory=limit)
    with progress_bar("cutting") as tell:
        made = run(whole, from_s=from_s, until_s=until_s, spaces=spaces, label=label, max_memory=limit, progress=tell)
    pages = kept_pages(whole, made.used) if has_pages(trace) else None
    write_trace(made.trace, output, force=force, pages=pages)
    notes = []
    if made.small_parts:
        notes.append(
            f"{made.small_parts:,} pages that were parts of huge frames, torn by forks or moves, are on small ones now"
        )
    print_made(output, made.trace, notes, as_json)
