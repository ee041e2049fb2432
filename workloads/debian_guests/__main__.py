"""`python -m workloads.debian_guests idle|busy -o TRACE`: boots guests from one image and records them."""

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import click

from workloads.debian_guests.guests import Guest, Guests
from workloads.debian_guests.image import build, cache_folder, install_host_packages
from workloads.recording import Wanted, capture_of, ksm_off, recorder

LOADS = ("redis", "web", "python", "compile")


def record_guests(wanted: Wanted, guests: list[Guest]) -> int:
    """Record what these guests do from now on; returns the capture's status."""
    with capture_of(wanted, ["--qemu", *(guest.name for guest in guests)]) as capture:
        pass
    return int(capture.returncode)


def _record(wanted: Wanted, busy: bool) -> int:
    install_host_packages()
    image = build(cache_folder())
    n, memory, mergeable = int(wanted["guests"]), int(wanted["memory"]), bool(wanted["mergeable"])
    alone = ksm_off() if mergeable else nullcontext()
    with alone, tempfile.TemporaryDirectory(prefix="ksmbench-guests-") as scratch:
        click.echo(f"booting {n} guests of {memory} MiB", err=True)
        started = time.monotonic()
        with Guests(image, Path(scratch), n, memory, mergeable) as guests:
            click.echo(f"ready after {time.monotonic() - started:.1f} s", err=True)
            for number, guest in enumerate(guests if busy else ()):
                guest.start_load(LOADS[number % len(LOADS)])
            time.sleep(float(wanted["settle"]))
            return record_guests(wanted, list(guests))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Boot Debian guests from one image and record them."""


main.add_command(recorder("debian-idle-x4", lambda wanted: _record(wanted, busy=False)), "idle")
main.add_command(recorder("debian-busy-x4", lambda wanted: _record(wanted, busy=True)), "busy")

if __name__ == "__main__":
    main()
