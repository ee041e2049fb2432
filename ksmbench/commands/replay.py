"""`ksmbench replay`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ksmbench.commands import shared
from ksmbench.commands.asking import note_nobody_asked
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
from ksmbench.errors import UsageError

if TYPE_CHECKING:
    from ksmbench.result import Result
    from ksmbench.specs import Spec


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
    "--design",
    default="ksm-6.18",
    show_default=True,
    metavar="D[,NAME=VALUE...]",
    shell_complete=complete_designs,
    help="See `ksmbench designs`.",
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
    spec = _asked(design, settings, policy)
    result = _run(
        trace,
        spec.design,
        dict(spec.settings),
        sample=parse_sample(sample),
        cost=cost,
        until=until,
        mergeable=mergeable,
        ignore_tune=ignore_tune,
        policy=spec.policy,
        host_memory=None if host_memory is None else parse_size(host_memory),
        max_memory=parse_size(max_memory),
        check=check,
    )
    _write(result, output, spaces, force)
    click.echo(json.dumps(_metadata(result), indent=2) if as_json else replay_table(result))
    note_nobody_asked([result.summary], [trace], mergeable)


def _asked(design: str, texts: tuple[str, ...], policy: str) -> "Spec":
    # The design with the settings in its own text and those of --set, checked against those that it has.
    from ksmbench.designs import complete_settings, find
    from ksmbench.policies import FIXED
    from ksmbench.specs import parse_design

    spec = parse_design(design)
    own, chosen = dict(spec.settings), find(spec.design)
    given = parse_settings(texts, chosen.worded)
    for name in given:
        if name in own:
            raise UsageError(f"--design {design}: {name} is set here and by --set; leave out one of them")
    if FIXED not in (spec.policy, policy) and spec.policy != policy:
        raise UsageError(f"--design {design}: policy is set here and by --policy; leave out one of them")
    complete = complete_settings(chosen, own | given)
    who = spec.policy if spec.policy != FIXED else policy
    return replace(spec, settings=tuple((name, complete[name]) for name in own | given), policy=who)


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
