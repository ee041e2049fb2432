"""ksmd's CPU time on live processes, against what a replay of their capture says; also for `benchmarks.cost_check`.

    python -m benchmarks.live_cost [--pages 100] [--seconds 30] [--windows 2] [--cost PROFILE]

Real guests or a real service run, a capture looks at them, and ksmd scans at the kernel's own pace, all at once. The
capture is then replayed with a profile, for as many pages as ksmd scanned: as it is, and with `cold_share` 0 and 1.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ksmbench.engine.cost import CostProfile, find_profile
from ksmbench.errors import KsmbenchError
from ksmbench.replaying import replay
from ksmbench.validate import sysfs
from ksmbench.validate.script import DEFAULTS
from workloads.debian_guests.guests import Guests
from workloads.debian_guests.image import build, install_host_packages
from workloads.prefork_server.load import send

MEBIBYTES = 256  # of each guest
GUESTS = ("two guests, idle", "two guests, at work")
SERVICE = "prefork service"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / "ksmbench-guests"
_LOOKS_AND_END_S = 3.0  # that the capture goes on after ksmd was stopped


@dataclass(frozen=True)
class Scanning:
    """How ksmd scans, and for how long each time."""

    seconds: float = 6.0
    settings: dict[str, int] = field(default_factory=lambda: {"pages_to_scan": 1000, "sleep_millisecs": 20})


@dataclass(frozen=True)
class Window:
    """A time for which ksmd ran, and the trace of what it had to scan."""

    spent_ns: float
    scanned: int
    seconds: float
    trace: Path
    settings: dict[str, int]

    def replayed(self, profile: CostProfile) -> tuple[float, int]:
        """CPU nanoseconds that a replay takes for as many pages, and the pages it scans in the same time.

        Fewer are scanned here than there where ksmd waits for a processor that others use.
        """
        rows = replay(self.trace, cost=profile, sample="batch", ignore_tune=True, **self.settings).samples
        scanned, spent = rows["pages_scanned"].to_numpy(), rows["cpu_ns"].to_numpy()
        in_time = int(np.searchsorted(rows["time_ns"].to_numpy(), self.seconds * 1e9)) - 1
        return float(np.interp(self.scanned, scanned, spent)), int(scanned[in_time])


PACE = Scanning()


def ksmd_ns() -> int:
    """ksmd's CPU time since boot."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text() == "ksmd\n":
                return int((entry / "schedstat").read_text().split()[0])
        except OSError:
            continue
    raise SystemExit("ksmd is not visible in /proc")


def store_settings(settings: Mapping[str, int]) -> None:
    """The kernel's defaults, as far as it has them, and these."""
    for name, value in {**DEFAULTS, **{name: str(value) for name, value in settings.items()}}.items():
        if (sysfs.ROOT / name).exists():
            sysfs.store(name, value)


@contextmanager
def serving(module: str, **load: float) -> Iterator[int]:
    """The service `python -m module SOCKET` under load; its process id."""
    with tempfile.TemporaryDirectory(prefix="ksmbench-prefork-") as scratch:
        path = Path(scratch) / "server"
        server = subprocess.Popen([sys.executable, "-m", module, str(path)])
        goes_on = True
        clients = threading.Thread(target=send, args=(str(path), lambda: goes_on), kwargs=load)
        try:
            while server.poll() is None and not path.exists():
                time.sleep(0.05)
            if server.poll() is not None:
                raise KsmbenchError(f"the service {module} ended with status {server.returncode} before it served")
            clients.start()
            yield server.pid
        finally:
            goes_on = False
            server.terminate()
            server.wait()
            if clients.ident is not None:
                clients.join()


def _window(what: Sequence[str], trace: Path, scanning: Scanning) -> Window:
    # Nothing merged; a capture has looked at everything once; then ksmd runs.
    for run in (0, 2, 0):
        sysfs.store("run", run)
    command = [sys.executable, "-m", "ksmbench", "capture", "-o", str(trace), "--interval", "2", *what]
    capture = subprocess.Popen(
        [*command, "--duration", str(scanning.seconds + _LOOKS_AND_END_S)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while capture.poll() is None and not (trace / "trace.json").exists():  # there after the first look, of time 0
        time.sleep(0.02)
    scanned, before, began = int(sysfs.read("pages_scanned")), ksmd_ns(), time.monotonic()
    sysfs.store("run", 1)
    time.sleep(scanning.seconds)
    sysfs.store("run", 0)  # waits for the batch that is under way
    seconds, spent = time.monotonic() - began, ksmd_ns() - before
    scanned = int(sysfs.read("pages_scanned")) - scanned
    if capture.wait() != 0:
        raise SystemExit(f"the capture failed: {' '.join(command)}")
    return Window(float(spent), scanned, seconds, trace, scanning.settings)


def guests(windows: int, folder: Path, scanning: Scanning = PACE) -> dict[str, list[Window]]:
    """Two Debian guests: some windows after their boot, then some with a database and a web server at work."""
    install_host_packages()
    image = build(_CACHE)
    found: dict[str, list[Window]] = {}
    with sysfs.KsmSession(), tempfile.TemporaryDirectory(prefix="ksmbench-guests-") as scratch:
        store_settings(scanning.settings)
        with Guests(image, Path(scratch), 2, MEBIBYTES, True) as running:
            what = ["--qemu", *(guest.name for guest in running)]
            time.sleep(5)
            for name in GUESTS:
                if name == GUESTS[1]:
                    for guest, load in zip(running, ("redis", "web"), strict=True):
                        guest.start_load(load)
                    time.sleep(5)
                traces = [folder / f"guests-{len(found)}-{i}" for i in range(windows)]
                found[name] = [_window(what, trace, scanning) for trace in traces]
    return found


def service(windows: int, folder: Path, scanning: Scanning = PACE) -> dict[str, list[Window]]:
    """A pre-forking server under load, its workers replaced again and again."""
    with sysfs.KsmSession(), serving("workloads.prefork_server.service") as pid:
        store_settings(scanning.settings)
        time.sleep(5)
        what = ["--pid", str(pid)]
        return {SERVICE: [_window(what, folder / f"service-{i}", scanning) for i in range(windows)]}


def off_at(windows: Sequence[Window], profile: CostProfile, shares: Sequence[float]) -> list[float]:
    """The median error of the prediction with each of these `cold_share`."""
    return [
        float(np.median([w.replayed(replace(profile, cold_share=share))[0] / w.spent_ns - 1 for w in windows]))
        for share in shares
    ]


def main() -> int:
    """Print a row for each load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=100, help="pages_to_scan")
    parser.add_argument("--seconds", type=float, default=30.0, help="of ksmd's scanning, each time")
    parser.add_argument("--windows", type=int, default=2, help="times for each load")
    parser.add_argument("--cost", default=None, help="a profile's file; the default profile without")
    given = parser.parse_args()
    scanning = Scanning(given.seconds, {"pages_to_scan": given.pages, "sleep_millisecs": 20})
    try:
        profile = find_profile(given.cost)
        if profile is None:
            raise KsmbenchError("--cost none predicts nothing")
        with tempfile.TemporaryDirectory(prefix="ksmbench-cost-") as scratch:
            found = guests(given.windows, Path(scratch), scanning) | service(given.windows, Path(scratch), scanning)
            shares = (0.0, profile.cold_share, 1.0)
            print(f"{'load':<20}{'measured ms':>14}" + "".join(f"{f'cold_share {share:g}':>16}" for share in shares))
            for name, windows in found.items():
                spent = float(np.median([window.spent_ns for window in windows])) / 1e6
                print(
                    f"{name:<20}{spent:>14.1f}" + "".join(f"{off:>+16.1%}" for off in off_at(windows, profile, shares))
                )
    except KsmbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
