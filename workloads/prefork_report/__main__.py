"""`python -m workloads.prefork_report`: writes the report, from replays of the shipped traces."""

from pathlib import Path

import click

from workloads.commands import in_one_sentence
from workloads.prefork_report import REPORT


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(REPORT), show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Replays at a time.")
@click.option("--force", is_flag=True, help="Replace an older report.")
def main(output: Path, jobs: int, force: bool) -> None:
    """Replay smart scan on and off, and the advisor against fixed settings; some minutes.

    Example: python -m workloads.prefork_report -o /tmp/prefork
    """
    from workloads.prefork_report.answers import answer
    from workloads.prefork_report.page import check_output, write
    from workloads.prefork_report.replays import PLAN, replay_all

    check_output(output, force=force)
    replays = replay_all(PLAN, jobs, lambda told: click.echo(told, err=True))
    write(replays, answer(replays), output)
    click.echo(f"report: {output}/report.html")


if __name__ == "__main__":
    in_one_sentence(main)
