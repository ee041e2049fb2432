"""`python -m workloads.closed_forms`: makes these scenarios as traces, and checks them."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
import polars as pl

from ksmbench import designs, write_trace
from ksmbench.commands.options import parse_settings
from ksmbench.errors import UsageError
from workloads.closed_forms.checking import check, engine_samples, kernel_samples
from workloads.closed_forms.forms import FORMS
from workloads.closed_forms.telling import Case
from workloads.commands import in_one_sentence


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Scenarios whose counters follow from a formula."""


@main.command("list")
def list_forms() -> None:
    """Every scenario with its parameters and their defaults."""
    for name, form in FORMS.items():
        given = " ".join(f"{parameter}={value}" for parameter, value in form.defaults.items())
        click.echo(f"{name:<22}{given:<34}{form.summary}")


@main.command()
@click.argument("name", type=click.Choice(list(FORMS)), metavar="NAME")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The trace to write.")
@click.option("--set", "given", multiple=True, metavar="PARAMETER=VALUE", help="A parameter of the scenario.")
@click.option("--force", is_flag=True, help="Replace an existing trace.")
def run(name: str, output: Path, given: tuple[str, ...], force: bool) -> None:
    """Write one scenario as a trace, and print what the formula says of it.

    Example: python -m workloads.closed_forms run max-page-sharing --set pages=100 --set maximum=3 -o /tmp/shared
    """
    form = FORMS[name]
    parameters = parse_settings(given)
    for parameter in parameters.keys() - form.defaults.keys():
        raise UsageError(f"{name} has no parameter {parameter}; it has {', '.join(form.defaults)}")
    case = form.tell(**parameters)
    write_trace(case.trace, output, force=force)
    for station in case.stations:
        said = ", ".join(f"{counter} {value:,}" for counter, value in station.counters.items())
        click.echo(f"after batch {station.batch} ({station.told}): {said}")
    click.echo(f"to see it: ksmbench replay {output} --cost none --sample batch")


@main.command("check")
@click.argument("names", nargs=-1, type=click.Choice(list(FORMS)), metavar="[NAME]...")
@click.option("--design", default=designs.DEFAULT, show_default=True, help="Which design to replay them with.")
@click.option("--kernel", is_flag=True, help="Play them on the running kernel instead (root, a C compiler).")
def check_forms(names: tuple[str, ...], design: str, kernel: bool) -> None:
    """Replay scenarios with all their parameters, and compare with the formulas; exit status 1 where one is wrong."""
    samples: Callable[[Case], pl.DataFrame | None] = kernel_samples() if kernel else lambda c: engine_samples(c, design)
    wrong = False
    for name in names or FORMS:
        cases, values, skipped = 0, 0, 0
        for parameters in FORMS[name].span:
            case = FORMS[name].tell(**parameters)
            found = samples(case)
            if found is None:
                skipped += 1
                continue
            checked = check(case, found)
            cases, values = cases + 1, values + checked.values
            for difference in checked.differences:
                wrong = True
                click.echo(f"{name} {parameters}: {difference}")
        left_out = f", {skipped} need NUMA nodes that are not here" if skipped else ""
        click.echo(f"{name:<22}{cases:>5} cases {values:>7,} values{left_out}")
    sys.exit(wrong)


if __name__ == "__main__":
    in_one_sentence(main)
