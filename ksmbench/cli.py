"""The command line: one thin command per stage; errors become one sentence and an exit status in one place."""

import os
import sys

import click

from ksmbench import __version__
from ksmbench.commands.calibrate import calibrate
from ksmbench.commands.capture import capture
from ksmbench.commands.combine import combine
from ksmbench.commands.compare import compare
from ksmbench.commands.cut import cut
from ksmbench.commands.designs import designs
from ksmbench.commands.doctor import doctor
from ksmbench.commands.explain import explain
from ksmbench.commands.group import InOrder
from ksmbench.commands.imports import import_
from ksmbench.commands.info import info
from ksmbench.commands.replay import replay
from ksmbench.commands.sweep import sweep
from ksmbench.commands.tune import tune
from ksmbench.commands.validate import validate
from ksmbench.commands.workload import workload
from ksmbench.errors import KsmbenchError


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ksmbench")
def cli() -> None:
    """Record real memory once, replay it through an exact model of Linux KSM."""


for command in (
    doctor,
    capture,
    import_,
    workload,
    info,
    explain,
    cut,
    combine,
    designs,
    replay,
    compare,
    sweep,
    tune,
    validate,
    calibrate,
):  # in the order of the data
    cli.add_command(command)


def _asked(error: click.ClickException) -> str:
    # The command that was called, also where click does not know any more which it was.
    if isinstance(error, click.UsageError) and error.ctx:
        return error.ctx.command_path
    named = [word for word in sys.argv[1:2] if word in cli.commands]
    return " ".join(["ksmbench", *named])


def main() -> None:
    """Run the command line; a mistake is printed as one sentence, never as a traceback."""
    try:
        status = cli(prog_name="ksmbench", standalone_mode=False, color=False if os.environ.get("NO_COLOR") else None)
    except KsmbenchError as error:
        click.echo(f"ksmbench: {error}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        message = " ".join(error.format_message().split()).rstrip(".").replace(". Did you mean", ", did you mean")
        click.echo(f"ksmbench: {message}; see `{_asked(error)} --help`", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)  # as a shell reports SIGINT
    except MemoryError:
        click.echo("ksmbench: this machine's memory is not enough; --max-memory refuses what is too large", err=True)
        sys.exit(1)
    except OSError as error:  # what is read and written by name has its own sentences: this is the standard output
        click.echo(f"ksmbench: the output could not be written ({error.strerror or error})", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
