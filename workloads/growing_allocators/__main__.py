"""`python -m workloads.growing_allocators -o TRACE`: records loaders of tables whose columns grow by mremap."""

import sys
from pathlib import Path

import click

from workloads.recording import capture_of, ksm_off


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The trace to write.")
@click.option("--duration", default=60.0, show_default=True, help="Seconds to record.")
@click.option("--interval", default=0.5, show_default=True, help="Seconds from look to look.")
@click.option("--force", is_flag=True, help="Replace an existing trace.")
def main(output: Path, duration: float, interval: float, force: bool) -> None:
    """Record four programs that load tables, from the start of the first; one ends on the way."""
    if output.exists() and not force:
        raise click.UsageError(f"{output} exists already; choose another name or pass --force")
    notes = (
        "four programs load tables into columns that grow by realloc and mremap, all their memory mergeable by madvise"
    )
    command = ["python", "-m", "workloads.growing_allocators.launcher", str(duration)]
    how = {"interval": interval, "duration": duration}
    with ksm_off(), capture_of(output, command, **how, notes=notes, force=force) as capture:
        pass
    sys.exit(capture.returncode)


if __name__ == "__main__":
    main()
