"""`ksmbench compare`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ksmbench.commands import shared
from ksmbench.commands.asking import note_nobody_asked
from ksmbench.commands.options import complete_designs, parse_sample, parse_size
from ksmbench.commands.progress import progress_bar
from ksmbench.errors import UsageError

if TYPE_CHECKING:
    from ksmbench.result import Comparison


def _print_table(comparison: "Comparison") -> None:
    from ksmbench.commands.tables import comparison_table
    from ksmbench.report.curves import LABEL

    for trace in comparison.page_size:
        summary = comparison.summary.filter(trace=trace).with_columns(LABEL).to_dicts()
        click.echo(f"{trace}\n{comparison_table(summary)}\n")


def _domains(texts: tuple[str, ...]) -> dict[str, str] | None:
    pairs = [text.partition("=") for text in texts]
    for text, (name, _, pattern) in zip(texts, pairs, strict=True):
        if not name or not pattern:
            raise UsageError(f'--domains "{text}": write NAME=PATTERN, as in red=web-*')
    return {name: pattern for name, _, pattern in pairs} or None


def _document(comparison: "Comparison") -> dict[str, object]:
    return {
        "options": {name: getattr(value, "name", value) for name, value in comparison.options.items()},
        "report": str(comparison.output / "report.html") if comparison.output else None,
        "summary": comparison.summary.to_dicts(),
    }


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...", type=click.Path())
@click.option(
    "--design",
    "designs",
    multiple=True,
    required=True,
    metavar="D[,NAME=VALUE...]",
    shell_complete=complete_designs,
    help="A design, with settings that differ from its defaults; give it once for each.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write; it appears whole."
)
@shared.sample
@shared.cost
@shared.until
@shared.mergeable
@shared.ignore_tune
@shared.policies(" to have each design with each")
@shared.host_memory
@click.option(
    "--domains",
    multiple=True,
    metavar="NAME=PATTERN",
    help="A security domain and its spaces, as red='web-*': what would be lost by merging within domains alone "
    "[default: as the trace says].",
)
@shared.max_memory
@shared.jobs
@shared.force_report
@shared.as_json
def compare(
    traces: tuple[str, ...],
    designs: tuple[str, ...],
    output: Path,
    sample: str,
    cost: str,
    until: float | None,
    mergeable: str,
    ignore_tune: bool,
    policies: tuple[str, ...],
    host_memory: str | None,
    domains: tuple[str, ...],
    max_memory: str,
    jobs: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Replay every TRACE through every design, side by side, and write a report.

    The folder gets report.html (one page that needs no network), report.md and samples.parquet. The designs `none` and
    `oracle` are the floor and the ceiling of the plots, named or not.

    \b
    Example: ksmbench compare traces/debian-idle-x4 --design ksm-6.18 --design ksm-6.18,pages_to_scan=1000 -o out
    """
    import json

    from ksmbench.comparing import compare as run_comparison

    with progress_bar("replaying") as progress:
        comparison = run_comparison(
            traces,
            designs,
            output,
            sample=parse_sample(sample),
            cost=None if cost == "default" else cost,
            until=until,
            mergeable=mergeable,
            ignore_tune=ignore_tune,
            policy=policies,
            host_memory=None if host_memory is None else parse_size(host_memory),
            domains=_domains(domains),
            max_memory=parse_size(max_memory),
            force=force,
            jobs=jobs,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(_document(comparison), indent=2))
    else:
        _print_table(comparison)
        click.echo(f"report: {output / 'report.html'}")
    note_nobody_asked(comparison.summary.to_dicts(), comparison.paths.values(), mergeable)
