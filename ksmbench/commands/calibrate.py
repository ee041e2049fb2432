"""`ksmbench calibrate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ksmbench.commands.files import refuse_existing, write_text
from ksmbench.commands.progress import progress_bar

if TYPE_CHECKING:
    from ksmbench.calibrate.calibrating import Calibration

_MUCH_STEAL_PERCENT = 2.0  # of all processors' time
_WIDE_PERCENT = 30.0  # between a load's least and most round, in the median of the loads


def told(calibration: "Calibration") -> str:
    """The prices with their spread, and how well every load is explained."""
    profile = calibration.profile
    levels = ", ".join(f"{level:g}" for level in profile.warm_levels)
    lines = [f"{profile.name}: {profile.source}", f"levels of a tree that stay in the caches: {levels}", ""]
    lines.append(f"{'price':<40}{'ns':>8}{'spread':>9}")
    for (name, i), price, spread in zip(calibration.fit.terms, calibration.fit.prices, calibration.spread, strict=True):
        beyond = f", level > {profile.warm_levels[i - 1]:g}" if i else ""
        known = f"{spread:.1f}" if profile.measured["rounds"] > 1 else "–"  # one round tells nothing of it
        lines.append(f"{name + beyond:<40}{price:>8.1f}{known:>9}")
    lines += ["", f"{'load':<26}{'ms':>9}{'rounds':>16}{'fitted':>9}{'left out':>10}"]
    for row in calibration.loads:
        low, high = row["rounds_percent"]
        rounds = f"{low:+.0f} to {high:+.0f} %"
        lines.append(
            f"{row['load']:<26}{row['measured_ms']:>9.1f}{rounds:>16}{row['fitted_percent']:>+8.1f}%"
            f"{row['left_out_percent']:>+9.1f}%"
        )
    error, about = profile.measured["left_out_error_percent"], profile.measured
    lines += [
        "",
        "rounds: the least and the most of a round, against the median. fitted: what the profile says against the",
        "median. left out: what a profile says that was fitted to the other loads, the estimate of its error:",
        f"median {error['median']:.1f} %, worst {error['worst']:.1f} %. Meanwhile the hypervisor took "
        f"{about['steal_percent']:.1f} % of the processors' time and they idled {about['idle_percent']:.0f} %.",
    ]
    if _is_disturbed(profile.measured):
        lines.append("Others disturbed this machine: the prices may be off by as much; measure again when it is quiet.")
    return "\n".join(lines)


def _is_disturbed(about: dict[str, Any]) -> bool:
    # By the hypervisor, or by what made most loads' rounds differ more than the error that a profile should have.
    widths = sorted(high - low for low, high in (row["rounds_percent"] for row in about["loads"]))
    return bool(about["steal_percent"] >= _MUCH_STEAL_PERCENT or widths[len(widths) // 2] >= _WIDE_PERCENT)


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The profile to write, JSON.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 1000), help="How often every load.")
@click.option(
    "--quick", is_flag=True, help="Small loads: a few seconds, and nothing about what the caches do not hold."
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile instead of tables.")
def calibrate(output: Path, rounds: int, quick: bool, force: bool, as_json: bool) -> None:
    """Measure what KSM's steps cost on this host, for --cost.

    Plays loads that isolate each step on the running kernel, half a minute a round, and explains ksmd's CPU time by the
    work that the engine counts for the same batches. Needs root, Linux 6.18, and nothing else that asks for merging.

    \b
    Example:
      ksmbench calibrate -o here.json
      ksmbench replay mine --cost here.json
    """
    refuse_existing((output,), force)
    from ksmbench.calibrate.calibrating import calibrate as measure

    try:
        with progress_bar("calibrating") as progress:
            calibration = measure(rounds=rounds, quick=quick, progress=progress)
    except KeyboardInterrupt:
        click.echo("\nksmbench: stopped; KSM's settings are as they were before, and nothing is written", err=True)
        raise click.Abort from None
    text = json.dumps(calibration.profile.as_dict(), indent=2)
    write_text(text + "\n", output, force)
    click.echo(text if as_json else told(calibration))
    if not as_json:
        click.echo(f"\n{output}: for --cost", err=True)
