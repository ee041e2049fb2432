"""`ksmbench sweep`."""

from typing import TYPE_CHECKING

import click

from ksmbench.commands import shared
from ksmbench.commands.asking import note_nobody_asked
from ksmbench.commands.options import complete_designs, complete_vary, parse_sample, parse_size
from ksmbench.commands.progress import replay_counter

if TYPE_CHECKING:
    from ksmbench.sweeping import Sweep


def _document(sweep: "Sweep") -> dict[str, object]:
    return {
        "options": {name: getattr(value, "name", value) for name, value in sweep.options.items()},
        "vary": sweep.vary,
        "report": str(sweep.output / "report.html") if sweep.output else None,
        "summary": sweep.summary.to_dicts(),
        "defaults": sweep.defaults.to_dicts(),
        "refused": sweep.refused.to_dicts(),
    }


def _print_front(sweep: "Sweep") -> None:
    from ksmbench.commands.tables import comparison_table
    from ksmbench.report.sweep import ranked

    for trace in sweep.page_size:
        rows = [row for row in ranked(sweep, trace) if row["on_front"] or row.get("is_default")]
        for row in rows:
            row["label"] += "  (default)" if row.get("is_default") else ""
        n = sweep.summary.filter(trace=trace).height
        of = f"{n:,} combinations" if n > 1 else "1 combination"
        click.echo(f"{trace}: the front of saved memory against CPU time, of {of}, and the default")
        click.echo(comparison_table(rows) + "\n")
    if not sweep.refused.is_empty():
        click.echo(
            f"{sweep.refused.height:,} combinations were left out, the first: {sweep.refused['why'][0]}", err=True
        )


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...", type=click.Path())
@click.option(
    "--design",
    "designs",
    multiple=True,
    default=("ksm-6.18",),
    show_default=True,
    metavar="D[,NAME=VALUE...]",
    shell_complete=complete_designs,
    help="A design, with settings that stay; give it once for each.",
)
@click.option(
    "--vary",
    multiple=True,
    required=True,
    metavar="NAME=V1,V2,...",
    shell_complete=complete_vary,
    help='A setting and its values; give it once for each setting. Sets of words are separated by "|", as in '
    "'callbacks=none|fork,exit'.",
)
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder to write.")
@shared.sample
@shared.cost
@shared.until
@shared.mergeable
@shared.ignore_tune
@shared.policies(", or vary them with --vary policy=A,B")
@shared.host_memory
@shared.max_memory
@click.option(
    "--max-replays", default=2000, show_default=True, type=click.IntRange(min=1), help="Refuse a larger grid."
)
@shared.jobs
@shared.dask
@click.option("--force", is_flag=True, help="Replace an older report, or another sweep's unfinished replays.")
@shared.as_json
def sweep(
    traces: tuple[str, ...],
    designs: tuple[str, ...],
    vary: tuple[str, ...],
    output: str,
    sample: str,
    cost: str,
    until: float | None,
    mergeable: str,
    ignore_tune: bool,
    policies: tuple[str, ...],
    host_memory: str | None,
    max_memory: str,
    max_replays: int,
    jobs: int | None,
    dask: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Replay every TRACE through every design with every combination of settings, on all cores or on a cluster.

    The folder gets report.html, report.md, samples.parquet and summary.parquet. Until then finished replays are under
    FOLDER/unfinished, each as it comes, and the same command goes on where it was, whatever stopped it. Changes of the
    varied settings that a trace recorded are left out.

    \b
    Example: ksmbench sweep traces/debian-idle-x4 --vary pages_to_scan=100,1000,4000 --vary smart_scan=0,1 -o out
    """
    import json

    from ksmbench.sweeping import sweep as run
    from ksmbench.sweeping.grid import parse_vary

    with replay_counter() as counter:
        found = run(
            traces,
            designs,
            parse_vary(vary, designs),
            output,
            sample=parse_sample(sample),
            cost=None if cost == "default" else cost,
            until=until,
            mergeable=mergeable,
            ignore_tune=ignore_tune,
            policy=policies,
            host_memory=None if host_memory is None else parse_size(host_memory),
            max_memory=parse_size(max_memory),
            max_replays=max_replays,
            force=force,
            jobs=jobs,
            dask=dask,
            progress=counter.tell,
        )
    if as_json:
        click.echo(json.dumps(_document(found), indent=2))
    else:
        _print_front(found)
        click.echo(f"report: {found.output / 'report.html' if found.output else ''}")
    note_nobody_asked(found.summary.to_dicts(), found.paths.values(), mergeable)
