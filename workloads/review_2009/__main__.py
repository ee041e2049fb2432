"""`python -m workloads.review_2009`: makes the workloads and directed scenarios of the 2009 review as traces."""

from pathlib import Path

import click

from ksmbench import write_trace
from workloads.commands import in_one_sentence
from workloads.review_2009 import QUESTIONS, REPORT
from workloads.review_2009.directed import SCENARIOS, Directed
from workloads.review_2009.workloads import NAMES, make, summary


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The 2009 review of KSM: synthetic workloads, directed scenarios, and the report about its questions."""


@main.command("list")
def list_all() -> None:
    """Every workload and every directed scenario."""
    click.echo("workloads, with the parameters of parameters.toml:")
    for name in NAMES:
        click.echo(f"  {name:<14}{summary(name)}")
    click.echo("directed scenarios, in which it is known what must be seen:")
    for name, scenario in SCENARIOS.items():
        click.echo(f"  {name:<14}{(scenario.__doc__ or '').splitlines()[0]}")


def _numbers(given: tuple[str, ...]) -> dict[str, float]:
    changes = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            changes[name.strip()] = float(value)
        except ValueError:
            raise click.UsageError(f'--set "{text}": write PARAMETER=NUMBER, as in workers=4') from None
    return changes


def _tell(case: Directed, output: Path) -> None:
    for one in case.expected:
        bounds = f"is {one.low:,}" if one.high is None else f"is {one.low:,} to {one.high:,}"
        click.echo(f"at {one.seconds:.2f} s {one.column} {bounds} in {', '.join(one.designs)} ({one.told})")
    settings = " ".join(f"--set {name}={value}" for name, value in case.settings.items())
    for design in dict.fromkeys(design for one in case.expected for design in one.designs):
        more = "".join(f" --set {name}={value}" for name, value in case.more.get(design, {}).items())
        click.echo(f"to see it: ksmbench replay {output} --design {design} {settings}{more} --cost none --sample 0.02")


@main.command("make")
@click.argument("name", type=click.Choice([*NAMES, *SCENARIOS]), metavar="NAME")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The trace to write.")
@click.option("--set", "given", multiple=True, metavar="PARAMETER=NUMBER", help="A parameter other than in the file.")
@click.option("--force", is_flag=True, help="Replace an existing trace.")
def make_one(name: str, output: Path, given: tuple[str, ...], force: bool) -> None:
    """Write a workload or a scenario as a trace; of a scenario, print what must be seen in it.

    Example: python -m workloads.review_2009 make prefork --set workers=4 -o /tmp/prefork
    """
    if name in NAMES:
        write_trace(make(name, **_numbers(given)), output, force=force)
        return
    if given:
        raise click.UsageError(f"{name} has no parameters")
    case = SCENARIOS[name]()
    write_trace(case.trace, output, force=force)
    _tell(case, output)


@main.command()
@click.argument("names", nargs=-1, type=click.Choice(QUESTIONS), metavar="[QUESTION]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(REPORT), show_default=True)
@click.option("--force", is_flag=True, help="Replace an older report.")
def report(names: tuple[str, ...], output: Path, force: bool) -> None:
    """Answer the questions of the review, all or some, with replays.

    Example: python -m workloads.review_2009 report fork mremap -o /tmp/review
    """
    from workloads.review_2009.report.answers import answer
    from workloads.review_2009.report.page import check_output, write
    from workloads.review_2009.report.runs import Runs

    check_output(output, force=force)
    runs = Runs(lambda told: click.echo(told, err=True))
    write(runs, answer(runs, names), output)
    click.echo(f"report: {output}/report.html")


if __name__ == "__main__":
    in_one_sentence(main)
