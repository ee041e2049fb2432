"""ksmd's CPU time on live processes, against what a replay of their capture says; for `benchmarks.cost_check`.

Real guests or a real service run, a capture looks at them, and ksmd scans at the kernel's own pace, all at once. The
capture is then replayed with a profile: its virtual ksmd has as much time as the real one had.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ksmbench.engine.cost import CostProfile
from ksmbench.replaying import replay
from ksmbench.validate import sysfs
from ksmbench.validate.script import DEFAULTS
from workloads.debian_guests.guests import Guests
from workloads.debian_guests.image import build, install_host_packages
from workloads.prefork_server.load import send

MEBIBYTES = 256  # of each guest
SECONDS = 6.0  # of ksmd's scanning, each time
SETTINGS = {"pages_to_scan": 1000, "sleep_millisecs": 20}
GUESTS = ("two guests, idle", "two guests, at work")
SERVICE = "prefork service"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / "ksmbench-guests"
_LOOKS_AND_END_S = 3.0  # that the capture goes on after ksmd was stopped


@dataclass(frozen=True)
class Window:
    """A time for which ksmd ran, and the trace of what it had to scan."""

    spent_ns: float
    scanned: int
    seconds: float
    trace: Path

    def replayed(self, profile: CostProfile) -> tuple[float, int]:
        """CPU nanoseconds that a replay takes for as many pages, and the pages it scans in the same time.

        Fewer are scanned here than there where ksmd waits for a processor that others use.
        """
        rows = replay(self.trace, cost=profile, sample="batch", ignore_tune=True, **SETTINGS).samples
        scanned, spent = rows["pages_scanned"].to_numpy(), rows["cpu_ns"].to_numpy()
        in_time = int(np.searchsorted(rows["time_ns"].to_numpy(), self.seconds * 1e9)) - 1
        return float(np.interp(self.scanned, scanned, spent)), int(scanned[in_time])


def ksmd_ns() -> int:
    """ksmd's CPU time since boot."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text() == "ksmd\n":
                return int((entry / "schedstat").read_text().split()[0])
        except OSError:
            continue
    raise SystemExit("ksmd is not visible in /proc")


@contextmanager
def _ksm() -> Iterator[None]:
    with sysfs.KsmSession():
        for name, value in {**DEFAULTS, **{name: str(value) for name, value in SETTINGS.items()}}.items():
            if (sysfs.ROOT / name).exists():
                sysfs.store(name, value)
        yield


def _window(what: Sequence[str], trace: Path) -> Window:
    # Nothing merged; a capture has looked at everything once; then ksmd runs.
    for run in (0, 2, 0):
        sysfs.store("run", run)
    command = [sys.executable, "-m", "ksmbench", "capture", "-o", str(trace), "--interval", "2", *what]
    capture = subprocess.Popen(
        [*command, "--duration", str(SECONDS + _LOOKS_AND_END_S)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while capture.poll() is None and not (trace / "trace.json").exists():  # there after the first look, of time 0
        time.sleep(0.02)
    scanned, before, began = int(sysfs.read("pages_scanned")), ksmd_ns(), time.monotonic()
    sysfs.store("run", 1)
    time.sleep(SECONDS)
    sysfs.store("run", 0)  # waits for the batch that is under way
    seconds, spent = time.monotonic() - began, ksmd_ns() - before
    scanned = int(sysfs.read("pages_scanned")) - scanned
    if capture.wait() != 0:
        raise SystemExit(f"the capture failed: {' '.join(command)}")
    return Window(float(spent), scanned, seconds, trace)


def guests(windows: int, folder: Path) -> dict[str, list[Window]]:
    """Two Debian guests: some windows after their boot, then some with a database and a web server at work."""
    install_host_packages()
    image = build(_CACHE)
    found: dict[str, list[Window]] = {}
    with _ksm(), tempfile.TemporaryDirectory(prefix="ksmbench-guests-") as scratch:
        with Guests(image, Path(scratch), 2, MEBIBYTES, True) as running:
            what = ["--qemu", *(guest.name for guest in running)]
            time.sleep(5)
            for name in GUESTS:
                if name == GUESTS[1]:
                    for guest, load in zip(running, ("redis", "web"), strict=True):
                        guest.start_load(load)
                    time.sleep(5)
                found[name] = [_window(what, folder / f"guests-{len(found)}-{i}") for i in range(windows)]
    return found


def service(windows: int, folder: Path) -> dict[str, list[Window]]:
    """A pre-forking server under load, its workers replaced again and again."""
    with _ksm(), tempfile.TemporaryDirectory(prefix="ksmbench-prefork-") as scratch:
        path = Path(scratch) / "server"
        server = subprocess.Popen([sys.executable, "-m", "workloads.prefork_server.service", str(path)])
        goes_on = True
        try:
            while server.poll() is None and not path.exists():
                time.sleep(0.05)
            clients = threading.Thread(target=send, args=(str(path), lambda: goes_on))
            clients.start()
            time.sleep(5)
            what = ["--pid", str(server.pid)]
            return {SERVICE: [_window(what, folder / f"service-{i}") for i in range(windows)]}
        finally:
            goes_on = False
            server.terminate()
            server.wait()
