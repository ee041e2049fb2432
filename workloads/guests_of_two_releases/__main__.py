"""`python -m workloads.guests_of_two_releases -o TRACE`: boots guests of two releases and records them."""

import tempfile
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

import click

from workloads.debian_guests.__main__ import record_guests
from workloads.debian_guests.guests import Guest
from workloads.debian_guests.image import RELEASES, build, cache_folder, install_host_packages
from workloads.recording import Wanted, ksm_off, recorder

_OF_EACH = 2
_LOAD = "python"


def _boot(wanted: Wanted, scratch: Path, ends: ExitStack) -> list[Guest]:
    guests = []
    for release in RELEASES:
        image = build(cache_folder(), release)
        for number in range(1, _OF_EACH + 1):
            name = f"{release}-{number}"
            guest = Guest(image, scratch, name, int(wanted["memory"]), bool(wanted["mergeable"]))
            ends.callback(guest.end)
            guests.append(guest)
    for guest in guests:
        guest.wait_until_ready()
    return guests


def _record(wanted: Wanted) -> int:
    install_host_packages()
    for release in RELEASES:
        build(cache_folder(), release)
    alone = ksm_off() if wanted["mergeable"] else nullcontext()
    with alone, tempfile.TemporaryDirectory(prefix="ksmbench-guests-") as scratch, ExitStack() as ends:
        click.echo(f"booting {_OF_EACH} guests each of {' and '.join(RELEASES)}", err=True)
        started = time.monotonic()
        guests = _boot(wanted, Path(scratch), ends)
        click.echo(f"ready after {time.monotonic() - started:.1f} s", err=True)
        for guest in guests[::_OF_EACH]:
            guest.start_load(_LOAD)
        time.sleep(float(wanted["settle"]))
        return record_guests(wanted, guests)


main = recorder("debian-two-releases-x4", _record)

if __name__ == "__main__":
    main()
