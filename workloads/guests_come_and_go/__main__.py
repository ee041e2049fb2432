"""`python -m workloads.guests_come_and_go -o TRACE`: records guests that come and go, from the start of the first."""

import os
import signal
import sys
from pathlib import Path

import click

from workloads.debian_guests.image import build, install_host_packages
from workloads.guests_come_and_go.launcher import AT_ONCE, MEMORY_MIB
from workloads.recording import capture_of, ksm_off


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / "ksmbench-guests"


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The trace to write.")
@click.option("--duration", default=220.0, show_default=True, help="Seconds to record.")
@click.option("--interval", default=2.0, show_default=True, help="Seconds from look to look.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the image stays [default: a cache folder].")
@click.option("--force", is_flag=True, help="Replace an existing trace.")
def main(output: Path, duration: float, interval: float, folder: Path | None, force: bool) -> None:
    """Record guests that boot, get a load, and end, some at a time."""
    if output.exists() and not force:
        raise click.UsageError(f"{output} exists already; choose another name or pass --force")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    install_host_packages()
    place = folder or _cache_folder()
    build(place)
    notes = f"Debian guests of {MEMORY_MIB} MiB from one image, {AT_ONCE} at a time: the oldest ends, a new one boots"
    command = ["python", "-m", "workloads.guests_come_and_go.launcher", str(place)]
    how = {"interval": interval, "duration": duration}
    with ksm_off(), capture_of(output, command, **how, notes=notes, force=force) as capture:
        pass
    sys.exit(capture.returncode)


if __name__ == "__main__":
    main()
