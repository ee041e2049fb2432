"""`ksmbench combine`."""

from pathlib import Path

import click

from ksmbench.commands import shared
from ksmbench.commands.progress import progress_bar


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...", type=click.Path(path_type=Path))
@shared.new_trace
@click.option(
    "--offset", "offsets", multiple=True, type=float, help="Seconds by which a trace is later, one for each in order."
)
@click.option("--only-zeroes", is_flag=True, help="Without contents or fingerprints: take only zero pages as equal.")
@click.option("--label", default="", help="A name for plots [default: those of the traces].")
@shared.force_trace
@shared.as_json
def combine(
    traces: tuple[Path, ...],
    output: Path,
    offsets: tuple[float, ...],
    only_zeroes: bool,
    label: str,
    force: bool,
    as_json: bool,
) -> None:
    """Make one trace of several, as if all of it had run on one host.

    Exact where the traces hold their contents. With fingerprints of one key it is exact which pages are equal, but not
    how contents of different traces are ordered: what that leaves exact is printed and stands in the manifest.

    \b
    Example: ksmbench combine monday tuesday -o both
             ksmbench combine web db -o host --offset 0 --offset 30
    """
    from contextlib import ExitStack

    from ksmbench.commands.reshaped import print_made, refuse_in_the_way
    from ksmbench.reshape.combine import combine as run
    from ksmbench.trace.store import open_trace, write_trace

    refuse_in_the_way(output, force)
    opened = [open_trace(path) for path in traces]
    with ExitStack() as stack, progress_bar("combining") as tell:
        made = run(opened, stack, offsets_s=offsets, only_zeroes=only_zeroes, label=label, progress=tell)
        write_trace(made.trace, output, force=force, pages=made.pages)
    print_made(output, made.trace, made.notes, as_json)
