"""`ksmbench replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ksmbench.commands import shared
from ksmbench.commands.options import (
    complete_designs,
    complete_policies,
    complete_settings,
    parse_sample,
    parse_settings,
    parse_size,
)
from ksmbench.commands.progress import progress_bar
from ksmbench.commands.tables import replay_table

if TYPE_CHECKING:
    from ksmbench.result import Result


def _metadata(result: "Result") -> dict[str, Any]:
    return {
        "design": result.design,
        "settings": result.settings,
        "options": result.options,
        "summary": result.summary,
        "provenance": result.provenance,
    }


@click.command()
@click.argument("trace", type=click.Path())
@click.option(
    "--design", default="ksm-6.18", show_default=True, shell_complete=complete_designs, help="See `ksmbench designs`."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    shell_complete=complete_settings,
    help="A setting, as the kernel's file is called.",
)
@shared.sample
@shared.cost
@shared.until
@shared.mergeable
@shared.ignore_tune
@click.option(
    "--policy",
    default="fixed",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_policies,
    help=f"{shared.POLICIES}.",
)
@shared.host_memory
@shared.max_memory
@click.option("--check", is_flag=True, help="Recount every structure at the end; exit 1 where a count differs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the samples to this Parquet file.")
@click.option("--spaces", type=click.Path(path_type=Path), help="Write what each space has to this Parquet file.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@shared.as_json
def replay(
    trace: str,
    design: str,
    settings: tuple[str, ...],
    sample: str,
    cost: str,
    until: float | None,
    mergeable: str,
    ignore_tune: bool,
    policy: str,
    host_memory: str | None,
    max_memory: str,
    check: bool,
    output: Path | None,
    spaces: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Replay TRACE through one design: what it saves, and what that costs.

    \b
    Example: ksmbench replay traces/debian-idle-x4 --set pages_to_scan=1000 -o result.parquet
    """
    import json

    from ksmbench.commands.files import refuse_existing

    refuse_existing((output, spaces), force)
    result = _run(
        trace,
        design,
        _parsed(design, settings),
        sample=parse_sample(sample),
        cost=cost,
        until=until,
        mergeable=mergeable,
        ignore_tune=ignore_tune,
        policy=policy,
        host_memory=None if host_memory is None else parse_size(host_memory),
        max_memory=parse_size(max_memory),
        check=check,
    )
    _write(result, output, spaces, force)
    click.echo(json.dumps(_metadata(result), indent=2) if as_json else replay_table(result))


def _parsed(design: str, texts: tuple[str, ...]) -> dict[str, Any]:
    # The settings that were given, checked against those that the design has.
    from ksmbench.designs import complete_settings, find

    chosen = find(design)
    given = parse_settings(texts, chosen.worded)
    complete = complete_settings(chosen, given)
    return {name: complete[name] for name in given}


def _run(trace: str, design: str, settings: dict[str, Any], **options: Any) -> "Result":
    from ksmbench.replaying import replay as run

    with progress_bar(design) as tell:
        return run(trace, design, progress=tell, **options, **settings)


def _write(result: "Result", output: Path | None, spaces: Path | None, force: bool) -> None:
    from ksmbench.commands.files import write_parquet

    # What each space has takes a second replay, which may be refused: then nothing is written.
    by_space = None if spaces is None else result.spaces
    if output is not None:
        write_parquet(result.samples, output, _metadata(result), force)
    if spaces is not None and by_space is not None:
        write_parquet(by_space, spaces, _metadata(result), force)
