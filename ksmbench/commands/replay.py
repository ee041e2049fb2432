"""`ksmbench replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ksmbench.commands.options import complete_designs, complete_policies, parse_sample, parse_settings, parse_size
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
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting, as the kernel's file is called."
)
@click.option("--sample", default="1.0", show_default=True, help='Seconds between samples, "batch" or "end".')
@click.option(
    "--cost", default="default", show_default=True, help='What scanning costs: "none", a profile or its file.'
)
@click.option("--until", type=float, help="Seconds of trace time at which to end [default: the last event].")
@click.option("--mergeable", default="as-is", show_default=True, help='"as-is", "all", or a pattern of space names.')
@click.option("--ignore-tune", is_flag=True, help="Leave out changes of settings that the trace recorded.")
@click.option(
    "--policy",
    default="fixed",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_policies,
    help="Who turns the settings during a replay: fixed, advisor, ksmtuned, ksmtuned-proxmox, mom or kubevirt.",
)
@click.option(
    "--host-memory", metavar="SIZE", help="Memory of the host that a policy sees [default: as the trace's host]."
)
@click.option("--max-memory", default="8G", show_default=True, help="Refuse a replay that needs more.")
@click.option("--check", is_flag=True, help="Recount every structure at the end; exit 1 where a count differs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the samples to this Parquet file.")
@click.option("--spaces", type=click.Path(path_type=Path), help="Write what each space has to this Parquet file.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
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

    Example: ksmbench replay traces/debian-idle-x4 --set pages_to_scan=1000 -o result.parquet
    """
    import json

    from ksmbench.commands.files import refuse_existing, write_parquet
    from ksmbench.designs import complete_settings, find
    from ksmbench.replaying import replay as run

    refuse_existing((output, spaces), force)
    chosen = find(design)
    parsed = parse_settings(settings, chosen.worded)
    complete = complete_settings(chosen, parsed)
    given: dict[str, Any] = {name: complete[name] for name in parsed}
    with progress_bar(design) as tell:
        result = run(
            trace,
            design,
            sample=parse_sample(sample),
            cost=cost,
            until=until,
            mergeable=mergeable,
            ignore_tune=ignore_tune,
            policy=policy,
            host_memory=None if host_memory is None else parse_size(host_memory),
            max_memory=parse_size(max_memory),
            check=check,
            progress=tell,
            **given,
        )
    by_space = (
        None if spaces is None else result.spaces
    )  # replays once more, and may be refused: nothing is written yet
    if output is not None:
        write_parquet(result.samples, output, _metadata(result), force)
    if spaces is not None and by_space is not None:
        write_parquet(by_space, spaces, _metadata(result), force)
    click.echo(json.dumps(_metadata(result), indent=2) if as_json else replay_table(result))
