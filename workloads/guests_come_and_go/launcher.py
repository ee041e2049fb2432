"""Starts guests, keeps a few of them, and replaces the oldest by a new one again and again, until SIGTERM.

python -m workloads.guests_come_and_go.launcher FOLDER
"""

import sys
import tempfile
import time
from pathlib import Path

from workloads.debian_guests.guests import Guest
from workloads.debian_guests.image import build
from workloads.ending import end_by_sigterm

MEMORY_MIB = 192
AT_ONCE = 3
_STAYS_S = 25.0  # between a new guest's sign and the next change
_LOADS = ("web", "python", "redis")


def _start(folder: Path, scratch: Path, number: int) -> Guest:
    guest = Guest(build(folder), scratch, f"guest-{number}", MEMORY_MIB, mergeable=True)
    try:
        guest.wait_until_ready()
        guest.start_load(_LOADS[number % len(_LOADS)])
    except BaseException:
        guest.end()
        raise
    return guest


def main() -> None:
    """Run until told to end; then all guests end."""
    folder = Path(sys.argv[1])
    end_by_sigterm()
    guests: list[Guest] = []
    with tempfile.TemporaryDirectory(prefix="ksmbench-guests-") as scratch:
        try:
            number = 0
            while True:
                number += 1
                if len(guests) == AT_ONCE:
                    guests.pop(0).end()
                guests.append(_start(folder, Path(scratch), number))
                if len(guests) == AT_ONCE:
                    time.sleep(_STAYS_S)
        finally:
            for guest in guests:
                guest.end()


if __name__ == "__main__":
    main()
