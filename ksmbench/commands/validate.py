"""`ksmbench validate`."""

import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ksmbench.commands import shared
from ksmbench.commands.options import complete_designs, complete_settings, parse_settings
from ksmbench.commands.progress import progress_bar
from ksmbench.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from ksmbench.trace.columns import Trace
    from ksmbench.validate.agreement import Play
    from ksmbench.validate.kernels import KernelFiles
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


def _design(given: str | None, version: str) -> str:
    """The design that was asked for, or that of Linux `version`: of the update, or of its series."""
    from ksmbench.designs import find
    from ksmbench.designs.design import RELEASES

    if given is not None:
        if find(given).family != RELEASES:
            raise UsageError(f'"{given}" is no release of Linux, which a kernel could be compared with')
        return find(given).name
    series = ".".join(version.split(".")[:2])
    for name in (f"ksm-{version}", f"ksm-{series}"):
        try:
            return find(name).name
        except UsageError:
            continue
    raise UsageError(f"there is no design of Linux {series} yet, which this kernel ({version}) is to be compared with")


def _running() -> str:
    # 6.18.44 of 6.18.44-fc-v782
    found = re.match(r"\d+\.\d+(\.\d+)?", platform.release())
    return found[0] if found else platform.release()


@click.command()
@click.argument("trace", required=False, type=click.Path(path_type=Path))
@click.option("--scenarios", type=click.IntRange(1), help="How many scenarios to generate [default: 100].")
@click.option("--seed", type=click.IntRange(0), help="Where the scenarios begin; the next is that of seed + 1.")
@click.option("--design", shell_complete=complete_designs, help="[default: the kernel's]")
@click.option(
    "--kernel",
    metavar="NAME",
    help="Play in a guest with a kernel of Debian: a package, or a series (6.1, 6.12, 7.x) for its newest.",
)
@click.option("--nodes", type=click.IntRange(1, 2), default=1, show_default=True, help="NUMA nodes of that guest.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    shell_complete=complete_settings,
    help="A setting to play TRACE with.",
)
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
@shared.as_json
def validate(
    trace: Path | None,
    scenarios: int | None,
    seed: int | None,
    design: str | None,
    kernel: str | None,
    nodes: int,
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

    With --kernel the same happens in a QEMU guest, which needs neither. The kernel is fetched with apt, not installed.

    \b
    Example: ksmbench validate --scenarios 200 --seed 7
             ksmbench validate --kernel 6.1 --scenarios 200
    """
    import json

    from ksmbench.commands.files import refuse_existing, write_parquet

    if trace is not None and (scenarios is not None or seed is not None):
        raise UsageError("scenarios are made without a trace; leave out TRACE, or --scenarios and --seed")
    if trace is None and (settings or batches):
        raise UsageError("--set and --batches belong to a trace; scenarios bring their own settings and times")
    if kernel is None and nodes > 1:
        raise UsageError("--nodes belongs to --kernel: a host has the nodes it has")
    refuse_existing((output,), force)
    files = _fetched(kernel)
    chosen = _design(design, files.upstream if files else _running())
    where = _Where(files, nodes, frames)
    said: list[Any] | None = None if output is None else []  # a great deal, of many scenarios
    verdict = (
        _of_trace(trace, where, chosen, settings, batches or 0, said)
        if trace is not None
        else _of_scenarios(range(seed or 0, (seed or 0) + (scenarios or 100)), where, chosen, save, said)
    )
    about = {"kernel": files.release if files else platform.release(), "design": chosen, **verdict.as_dict()}
    if output is not None and said is not None:
        write_parquet(_joined(said), output, about, force)
    click.echo(json.dumps(about, indent=2) if as_json else f"{about['kernel']} and {chosen}\n\n{_table(verdict)}")
    return int(not verdict.agrees)


@dataclass(frozen=True)
class _Where:
    """What plays: this host, or guests with `files` and so many NUMA nodes."""

    files: "KernelFiles | None"
    nodes: int
    frames: bool | None

    @contextmanager
    def plays(self, frames: bool, tell: Callable[[float], None] | None, memory_for: "Trace | None") -> "Iterator[Play]":
        from ksmbench.validate.guests import GuestPlay, memory_mib
        from ksmbench.validate.kernel import host_play

        wanted = frames if self.frames is None else self.frames
        if self.files is None:
            yield host_play(frames=wanted, progress=tell, waits=cache(_tell_of_waiting))
        else:
            _tell(f"booting {self.files.package} {self.files.version}")
            with GuestPlay(self.files, nodes=self.nodes, memory_mib=memory_mib(memory_for), frames=wanted) as guest:
                yield guest


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        click.echo(what, err=True)


def _tell_of_waiting() -> None:
    from ksmbench.validate.lock import LOCK

    click.echo(f"waiting for another use of this host's KSM to end ({LOCK})", err=True)


def _fetched(kernel: str | None) -> "KernelFiles | None":
    if kernel is None:
        return None
    from ksmbench.validate.kernels import kept_kernel, kernel_files

    if kept_kernel(kernel) is None:
        _tell(f"fetching the kernel {kernel} and the lists of Debian's suites: up to a minute")
    return kernel_files(kernel)


def _joined(said: "list[pl.DataFrame]") -> "pl.DataFrame":
    import polars as pl

    return pl.concat(said, how="diagonal") if said else pl.DataFrame()


def _of_trace(
    path: Path, where: _Where, design: str, given: tuple[str, ...], batches: int, said: "list[pl.DataFrame] | None"
) -> "Verdict":
    from ksmbench.trace.store import open_trace
    from ksmbench.validate.validating import Validation, from_trace

    settings: dict[str, Any] = dict(parse_settings(given))
    scenario = from_trace(open_trace(path), settings, batches=batches)
    with progress_bar(scenario.name) as tell, where.plays(False, tell, scenario.trace) as play:
        validation = Validation(play, design, keep=None if said is None else said.append)
        validation.add(scenario)
    return validation.verdict


def _of_scenarios(seeds: range, where: _Where, design: str, save: Path, said: "list[pl.DataFrame] | None") -> "Verdict":
    from ksmbench.designs import find
    from ksmbench.validate.generate import generate
    from ksmbench.validate.guests import unplayable_kinds
    from ksmbench.validate.validating import Validation

    known = [setting.name for setting in find(design).settings]
    without = unplayable_kinds(where.files) if where.files else []
    with where.plays(True, None, None) as play, progress_bar(f"{len(seeds)} scenarios") as tell:
        validation = Validation(play, design, save=save, keep=None if said is None else said.append)
        for number, seed in enumerate(seeds):
            validation.add(generate(seed, known, n_nodes=where.nodes, without=without))
            if tell is not None:
                tell((number + 1) / len(seeds))
    return validation.verdict
