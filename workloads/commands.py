"""The commands of workloads: a user's mistake is one sentence, whoever calls them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ksmbench.errors import KsmbenchError


class WorkloadCommand(click.Command):
    """Says an error of ksmbench's in one sentence where it is called by `python -m`; else the caller does."""

    def main(self, *args: Any, standalone_mode: bool = True, **more: Any) -> Any:
        """As click's."""
        try:
            return super().main(*args, standalone_mode=standalone_mode, **more)
        except KsmbenchError as error:
            if not standalone_mode:
                raise
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)


def in_one_sentence(command: Callable[[], None]) -> None:
    """Run a command that is no workload's in the same way."""
    try:
        command()
    except KsmbenchError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def output_options() -> list[click.Parameter]:
    """-o and --force."""
    place = click.Path(path_type=Path)
    return [
        click.Option(["-o", "--output"], type=place, required=True, help="The trace to write."),
        click.Option(["--force"], is_flag=True, help="Replace an existing trace."),
    ]
