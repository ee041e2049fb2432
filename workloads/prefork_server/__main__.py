"""`python -m workloads.prefork_server -o TRACE`: starts the server under a capture and sends it requests."""

import sys
import tempfile
import time
from pathlib import Path

import click

from workloads.prefork_server.load import send
from workloads.prefork_server.service import WORKERS
from workloads.recording import capture_of, ksm_off


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The trace to write.")
@click.option("--duration", default=75.0, show_default=True, help="Seconds to record.")
@click.option("--interval", default=1.0, show_default=True, help="Seconds from look to look.")
@click.option("--force", is_flag=True, help="Replace an existing trace.")
def main(output: Path, duration: float, interval: float, force: bool) -> None:
    """Record a pre-forking server from its start: a controller, its workers, and those that replace them."""
    if output.exists() and not force:
        raise click.UsageError(f"{output} exists already; choose another name or pass --force")
    notes = f"a pre-forking Python server with {WORKERS} workers under load, all its memory mergeable by madvise"
    how = {"interval": interval, "duration": duration}
    with ksm_off(), tempfile.TemporaryDirectory(prefix="ksmbench-prefork-") as scratch:
        path = Path(scratch) / "server"
        command = ["python", "-m", "workloads.prefork_server.service", str(path)]
        with capture_of(output, command, **how, notes=notes, force=force) as capture:
            while capture.poll() is None and not path.exists():
                time.sleep(0.05)
            answered = send(str(path), lambda: capture.poll() is None)
    click.echo(f"{answered:,} requests were answered", err=True)
    sys.exit(capture.returncode)


if __name__ == "__main__":
    main()
