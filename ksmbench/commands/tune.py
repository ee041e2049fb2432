"""`ksmbench tune`."""

from typing import TYPE_CHECKING

import click

from ksmbench.commands import shared
from ksmbench.commands.asking import note_nobody_asked
from ksmbench.commands.options import complete_designs, parse_sample, parse_seconds, parse_share, parse_size
from ksmbench.commands.progress import replay_counter
from ksmbench.errors import UsageError

if TYPE_CHECKING:
    from ksmbench.tuning import Tuning


def _print(found: "Tuning") -> None:
    from ksmbench.commands.tables import comparison_table

    rows = []
    for row, mark in ((found.best, "chosen" if found.reached else "nearest"), (found.default, "default")):
        label = ",".join(filter(None, (row["design"], row["settings"])))
        rows.append(row | {"label": f"{label}  ({mark})"})
    for sentence in found.sentences():
        click.echo(sentence.replace("`", ""))
    click.echo()
    click.echo(comparison_table(rows) + "\n")
    if found.reached:
        for name, value in found.settings.items():
            click.echo(f"  {name} = {value}")
    if found.output is not None:
        click.echo("".join(f"\ninstall: {found.output / name}" for name in found.files).lstrip())
        click.echo(f"report: {found.output / 'report.html'}")


@click.command()
@click.argument("trace", metavar="TRACE")
@click.option("--max-cpu", metavar="PERCENT", help="CPU time that ksmd may take, as in 10% of one CPU.")
@click.option(
    "--min-saving", metavar="SIZE|PERCENT", help="Memory to save, net: as in 2G, or 80% of what the oracle saves."
)
@click.option("--within", metavar="TIME", help="When the saving has to be there, as in 300s or 5m.")
@click.option(
    "--design",
    default="ksm-6.18",
    show_default=True,
    metavar="D[,NAME=VALUE...]",
    shell_complete=complete_designs,
    help="A design, with settings that stay.",
)
@click.option("-o", "--output", type=click.Path(), help="Folder to write: the files to install, and the evidence.")
@click.option("--sample", default="1.0", show_default=True, help="Seconds of trace time between rows.")
@shared.cost
@shared.until
@shared.mergeable
@click.option(
    "--host-memory", metavar="SIZE", help="Memory of the host to install on, for ksmtuned.conf [default: the trace's]."
)
@shared.max_memory
@click.option("--max-replays", default=200, show_default=True, type=click.IntRange(min=10), help="Search no further.")
@shared.jobs
@shared.dask
@shared.force_report
@shared.as_json
def tune(
    trace: str,
    max_cpu: str | None,
    min_saving: str | None,
    within: str | None,
    design: str,
    output: str | None,
    sample: str,
    cost: str,
    until: float | None,
    mergeable: str,
    host_memory: str | None,
    max_memory: str,
    max_replays: int,
    jobs: int | None,
    dask: str | None,
    force: bool,
    as_json: bool,
) -> int:
    """Search the settings that reach a goal on TRACE, and write them as files to install, with the evidence.

    With --min-saving the cheapest settings that reach it are chosen; without, those that save most, and of about equal
    ones the cheapest. Where nothing reaches the goal the exit status is 1, and what comes nearest is shown.

    \b
    Example: ksmbench tune traces/debian-idle-x4 --max-cpu 10% --within 60s -o advice
    """
    import json

    from ksmbench.tuning import tune as run

    every = parse_sample(sample)
    if not isinstance(every, float):
        raise UsageError(f'--sample {sample}: must be a number of seconds, as "reached" is read from the samples')
    is_share = min_saving is not None and min_saving.strip().endswith("%")
    with replay_counter(kept=output is not None) as counter:
        found = run(
            trace,
            output,
            max_cpu=None if max_cpu is None else parse_share(max_cpu),
            min_saving=None if min_saving is None or is_share else parse_size(min_saving),
            min_share=parse_share(min_saving) if min_saving is not None and is_share else None,
            within=None if within is None else parse_seconds(within),
            design=design,
            sample=every,
            cost=None if cost == "default" else cost,
            until=until,
            mergeable=mergeable,
            host_memory=None if host_memory is None else parse_size(host_memory),
            max_memory=parse_size(max_memory),
            max_replays=max_replays,
            force=force,
            jobs=jobs,
            dask=dask,
            progress=counter.tell,
        )
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        _print(found)
    note_nobody_asked(found.sweep.summary.to_dicts(), found.sweep.paths.values(), mergeable)
    return 0 if found.reached else 1
