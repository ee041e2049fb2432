"""`ksmbench explain`."""

from pathlib import Path
from typing import Any

import click

from ksmbench.commands import shared
from ksmbench.commands.options import parse_size
from ksmbench.commands.progress import progress_bar
from ksmbench.errors import UsageError


@click.command()
@click.argument("trace", required=False, type=click.Path(path_type=Path))
@click.option("--pid", "pids", multiple=True, type=click.IntRange(min=1), help="A running process; repeatable.")
@click.option("--at", "at_s", type=float, help="Seconds of trace time to look at [default: its end].")
@click.option("--all", "show_all", is_flag=True, help="List mappings that hold nothing, too.")
@shared.max_memory_of_trace
@shared.as_json
def explain(
    trace: Path | None, pids: tuple[int, ...], at_s: float | None, show_all: bool, max_memory: str, as_json: bool
) -> None:
    """Say of each mapping of running processes, or of TRACE, whether KSM can merge it, and if not why.

    Beside that: how much of it equals something, near or far, what merging would save, and where pages that are almost
    equal first differ. Running processes are looked at once, without being stopped; absent pages are not read.

    \b
    Example: ksmbench explain --pid 4711
             ksmbench explain --pid 4711 --pid 4712 --all
             ksmbench explain traces/debian-idle-x4 --at 30
    """
    import json

    from ksmbench.explaining.show import show

    if (trace is None) == (not pids):
        raise UsageError("name either running processes with --pid or one trace")
    if pids and at_s is not None:
        raise UsageError("--at is a time of a trace; running processes are looked at now")
    limit = parse_size(max_memory)
    facts = _of_trace(trace, at_s, limit) if trace is not None else _of_processes(pids)
    click.echo(json.dumps(facts, indent=2) if as_json else show(facts, show_all=show_all))


def _of_trace(trace: Path, at_s: float | None, max_memory: int) -> dict[str, Any]:
    from ksmbench.explaining.recorded import explained_trace
    from ksmbench.explaining.report import explain as run
    from ksmbench.trace.store import open_trace

    opened = open_trace(trace, max_memory=max_memory)
    with progress_bar("playing") as tell:
        subject = explained_trace(opened, at_s=at_s, max_memory=max_memory, progress=tell)
    return run(subject)


def _of_processes(pids: tuple[int, ...]) -> dict[str, Any]:
    from ksmbench.explaining.live import explain_processes
    from ksmbench.explaining.report import explain as run

    facts: dict[str, Any] = {}
    with progress_bar("reading") as tell:
        explain_processes(pids, lambda subject: facts.update(run(subject)), progress=tell)
    return facts
