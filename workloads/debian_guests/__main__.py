"""`python -m workloads.debian_guests`: the command that makes a shipped trace again."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from workloads.debian_guests.guests import Guest, Guests
from workloads.debian_guests.image import build, install_host_packages

LOCK = Path("/run/lock/ksmbench.lock")  # whoever touches this machine's KSM holds it
LOADS = ("redis", "web", "python", "compile")
SCENARIOS = {
    "idle": "nothing runs but the services, recorded from two minutes after boot",
    "busy": "a database, a web server, an interpreter and a compile, one in each guest",
}
INTERVAL = {"idle": 1.0, "busy": 2.0}
SETTLE_SECONDS = {"idle": 120.0, "busy": 20.0}
DURATION = {"idle": 120.0, "busy": 200.0}


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or "/var/tmp"
    return Path(root) / "ksmbench-guests"


def _settle(scenario: str, guests: list[Guest]) -> None:
    if scenario == "busy":
        for number, guest in enumerate(guests):
            guest.start_load(LOADS[number % len(LOADS)])
    time.sleep(SETTLE_SECONDS[scenario])


def _capture(scenario: str, guests: list[Guest], output: Path, interval: float, duration: float, force: bool) -> int:
    recipe = ["python", "-m", "workloads.debian_guests", *(word for word in sys.argv[1:] if word != "--force")]
    command = [sys.executable, "-m", "ksmbench", "capture"]
    for guest in guests:
        command += ["--qemu", guest.name]
    command += ["-o", str(output), "--interval", str(interval), "--duration", str(duration)]
    command += ["--label", f"debian-{scenario}-x{len(guests)}", "--recipe", shlex.join(recipe)]
    command += ["--notes", f"{len(guests)} Debian guests from one image: {SCENARIOS[scenario]}"]
    return subprocess.run([*command, *(["--force"] if force else [])]).returncode


_SCENARIO_HELP = "".join(f"\n\n{name}: {what}" for name, what in SCENARIOS.items())


@click.command(help=f"Boot Debian guests from one image and record them.{_SCENARIO_HELP}")
@click.argument("scenario", type=click.Choice(sorted(SCENARIOS)))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The trace to write.")
@click.option("--guests", "n", default=4, show_default=True, type=click.IntRange(1, 64), help="How many guests.")
@click.option("--memory", default=256, show_default=True, type=click.IntRange(128), help="Each guest's memory in MiB.")
@click.option("--interval", default=None, type=float, help="Seconds from look to look [default: 1 idle, 2 busy].")
@click.option("--duration", default=None, type=float, help="Seconds to record [default: 120 idle, 200 busy].")
@click.option("--mergeable/--no-mergeable", default=True, show_default=True, help="QEMU's mem-merge.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the image stays [default: a cache folder].")
@click.option("--force", is_flag=True, help="Replace an existing trace.")
def main(
    scenario: str,
    output: Path,
    n: int,
    memory: int,
    interval: float | None,
    duration: float | None,
    mergeable: bool,
    folder: Path | None,
    force: bool,
) -> None:
    """Run one scenario."""
    if output.exists() and not force:
        raise click.UsageError(f"{output} exists already; choose another name or pass --force")
    # A terminated recipe ends its guests, as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    install_host_packages()
    image = build(folder or _cache_folder())
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with open(LOCK, "a") as lock, tempfile.TemporaryDirectory(prefix="ksmbench-guests-") as scratch:
        if mergeable:
            fcntl.flock(lock, fcntl.LOCK_EX)
        click.echo(f"booting {n} guests of {memory} MiB", err=True)
        started = time.monotonic()
        with Guests(image, Path(scratch), n, memory, mergeable) as guests:
            click.echo(f"ready after {time.monotonic() - started:.1f} s", err=True)
            _settle(scenario, list(guests))
            status = _capture(
                scenario, list(guests), output, interval or INTERVAL[scenario], duration or DURATION[scenario], force
            )
    sys.exit(status)


if __name__ == "__main__":
    main()
