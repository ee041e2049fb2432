"""`ksmbench validate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ksmbench.commands.options import complete_designs, parse_settings
from ksmbench.commands.progress import progress_bar
from ksmbench.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from ksmbench.validate.validating import Verdict


def _table(verdict: "Verdict") -> str:
    lines = [f"{'counter':<26}{'compared':>12}{'differ':>10}   first difference"]
    for tally in verdict.tallies.values():
        lines.append(f"{tally.name:<26}{tally.batches:>12,}{tally.differences:>10,}   {tally.first or '–'}")
    lines += ["", f"{verdict.traces:,} traces, {verdict.batches:,} batches of ksmd, {verdict.values:,} values"]
    lines += [f"differs: {difference}" for difference in verdict.differences]
    lines += [f"not played: {name}: {why}" for name, why in verdict.unplayed.items()]
    if verdict.agrees:
        lines.append("no difference")
    return "\n".join(lines)


def _design(given: str | None) -> str:
    # That of the running kernel, where there is one.
    import platform

    from ksmbench.designs import NEWEST_KSM, find

    if given is not None:
        return find(given).name
    series = "ksm-" + ".".join(platform.release().split(".")[:2])
    try:
        return find(series).name
    except UsageError:
        return NEWEST_KSM


@click.command()
@click.argument("trace", required=False, type=click.Path(path_type=Path))
@click.option("--scenarios", type=click.IntRange(1), help="How many scenarios to generate [default: 100].")
@click.option("--seed", type=click.IntRange(0), help="Where the scenarios begin; the next is that of seed + 1.")
@click.option("--design", shell_complete=complete_designs, help="[default: the running kernel's, or ksm-6.18]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting to play TRACE with.")
@click.option("--batches", type=click.IntRange(1), help="Squeeze TRACE into the time of so many batches of ksmd.")
@click.option(
    "--frames/--no-frames",
    default=None,
    help="Compare the frames in page tables too  [default: of scenarios; a large trace takes much longer with them]",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    default=Path("differences"),
    show_default=True,
    help="The folder for the shortest traces that still differ.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write what both said to this Parquet file.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def validate(
    trace: Path | None,
    scenarios: int | None,
    seed: int | None,
    design: str | None,
    settings: tuple[str, ...],
    batches: int | None,
    frames: bool | None,
    save: Path,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> int:
    """Play TRACE, or scenarios made from a seed, on the running kernel and compare every counter after every batch.

    Real processes do what the events say, ksmd is stepped batch by batch, and the kernel's counters are laid beside the
    engine's. It needs root, and KSM for itself; all settings are put back. Exit status 1: something differed.

    Example: ksmbench validate --scenarios 200 --seed 7
    """
    import json

    from ksmbench.commands.files import refuse_existing, write_parquet

    if trace is not None and (scenarios is not None or seed is not None):
        raise UsageError("scenarios are made without a trace; leave out TRACE, or --scenarios and --seed")
    if trace is None and (settings or batches):
        raise UsageError("--set and --batches belong to a trace; scenarios bring their own settings and times")
    refuse_existing((output,), force)
    chosen = _design(design)
    said: list[Any] = []
    verdict = (
        _of_trace(trace, chosen, parse_settings(settings), batches or 0, bool(frames), said)
        if trace is not None
        else _of_scenarios(range(seed or 0, (seed or 0) + (scenarios or 100)), chosen, frames is not False, save, said)
    )
    about = {"design": chosen, **verdict.as_dict()}
    if output is not None:
        write_parquet(_joined(said), output, about, force)
    click.echo(json.dumps(about, indent=2) if as_json else _table(verdict))
    return int(not verdict.agrees)


def _joined(said: "list[pl.DataFrame]") -> "pl.DataFrame":
    import polars as pl

    return pl.concat(said, how="diagonal") if said else pl.DataFrame()


def _of_trace(
    path: Path, design: str, settings: dict[str, int], batches: int, frames: bool, said: "list[pl.DataFrame]"
) -> "Verdict":
    from ksmbench.trace.store import open_trace
    from ksmbench.validate.kernel import host_play
    from ksmbench.validate.validating import Validation, from_trace

    scenario = from_trace(open_trace(path), settings, batches=batches)
    with progress_bar(scenario.name) as tell:
        validation = Validation(host_play(frames=frames, progress=tell), design, keep=said.append)
        validation.add(scenario)
    return validation.verdict


def _of_scenarios(seeds: range, design: str, frames: bool, save: Path, said: "list[pl.DataFrame]") -> "Verdict":
    from ksmbench.designs import find
    from ksmbench.validate.generate import generate
    from ksmbench.validate.kernel import host_play
    from ksmbench.validate.validating import Validation

    known = [setting.name for setting in find(design).settings]
    validation = Validation(host_play(frames=frames), design, save=save, keep=said.append)
    with progress_bar(f"{len(seeds)} scenarios") as tell:
        for number, seed in enumerate(seeds):
            validation.add(generate(seed, known))
            if tell is not None:
                tell((number + 1) / len(seeds))
    return validation.verdict
