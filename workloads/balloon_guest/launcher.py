"""Starts two guests and takes one through its steps; ends when the last is done, or at SIGTERM.

python -m workloads.balloon_guest.launcher FOLDER MEBIBYTES LEFT_BY_BALLOON MERGEABLE
"""

import signal
import sys
import tempfile
import time
from pathlib import Path

from workloads.balloon_guest.monitor import Monitor
from workloads.debian_guests.guests import Guest
from workloads.debian_guests.image import Image, build
from workloads.ending import end_by_sigterm

_BALLOON = ["-device", "virtio-balloon-pci,free-page-reporting=on,deflate-on-oom=on"]
_STEP_S = 15.0
# Fills memory with what nobody else has, keeps it for a while, and lets go of it when it ends.
_FILL = "python3 -c 'import os,time; x = [os.urandom(1 << 20) for _ in range({})]; time.sleep({})' & echo filling"
_READ = (
    "cat /usr/lib/x86_64-linux-gnu/*.so* /usr/bin/* >/dev/null"  # so that the page cache fills with the image's files
)
_FORGET = "sync; echo 3 >/proc/sys/vm/drop_caches"


def _start(image: Image, scratch: Path, name: str, mebibytes: int, mergeable: bool) -> tuple[Guest, Path]:
    path = scratch / f"{name}.qmp"
    guest = Guest(image, scratch, name, mebibytes, mergeable, [*Monitor.words(path), *_BALLOON])
    return guest, path


def _steps(guest: Guest, path: Path, mebibytes: int, left: int) -> None:
    # What happens to the guest, a pause after each, so that what a design does about it can be seen.
    monitor = Monitor(path)
    guest.start_load("python")
    guest.tell(_READ)
    guest.tell(_FILL.format(mebibytes // 4, int(_STEP_S)))
    time.sleep(2 * _STEP_S)
    guest.tell(_FORGET)  # free page reporting gives to the host what the guest has no use for
    time.sleep(_STEP_S)
    monitor.balloon(left)
    time.sleep(_STEP_S)
    monitor.balloon(mebibytes)
    guest.tell(_READ)
    time.sleep(_STEP_S)
    monitor.do("system_reset")  # the same QEMU, the same memory: the guest boots over what it held
    guest.wait_until_ready()
    guest.start_load("redis")
    time.sleep(2 * _STEP_S)
    monitor.close()


def main() -> None:
    """Run the steps; both guests go on until the recording ends and tells this process to."""
    folder, mebibytes, left, mergeable = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
    end_by_sigterm()
    image = build(folder)
    guests: list[Guest] = []
    with tempfile.TemporaryDirectory(prefix="ksmbench-guests-") as scratch:
        try:
            started = []
            for name in ("changes", "stays"):
                started.append(_start(image, Path(scratch), name, mebibytes, mergeable))
                guests.append(started[-1][0])
            for guest in guests:
                guest.wait_until_ready()
            _steps(*started[0], mebibytes, left)
            signal.pause()
        finally:
            for guest in guests:
                guest.end()


if __name__ == "__main__":
    main()
