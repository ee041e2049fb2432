"""The command line: one thin command per stage; errors become one sentence and an exit status in one place."""

import sys
from pathlib import Path

import click

from ksmbench import __version__
from ksmbench.errors import KsmbenchError


class _InOrder(click.Group):
    """Lists the commands in the order of the data, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ksmbench")
def cli() -> None:
    """Record real memory once, replay it through an exact model of Linux KSM."""


@cli.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def info(trace: Path, as_json: bool) -> None:
    """Say what is in TRACE, after checking every rule of the format.

    Example: ksmbench info traces/debian-idle-x4
    """
    import json

    from ksmbench.trace.describe import describe
    from ksmbench.trace.store import open_trace

    facts = describe(open_trace(trace))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else value
        click.echo(f"{name:<{width}}  {text}")


def main() -> None:
    """Run the command line; a `KsmbenchError` is printed as one sentence, never as a traceback."""
    try:
        cli(prog_name="ksmbench")
    except KsmbenchError as error:
        click.echo(f"ksmbench: {error}", err=True)
        sys.exit(error.exit_code)
