"""Compares what a replay predicts of a pair of idle guests with what the live ksmd reaches on those same guests.

    python -m benchmarks.live_guests --set pages_to_scan=1000 --passes 5

Boots two Debian guests, records them while KSM is off, then lets ksmd do so many passes with these settings and counts.
The recording is replayed with the same settings for as many passes. The guests go on changing while ksmd runs, which
that recording cannot know: a second one, made during the live run, tells how much of the difference that explains.
Needs root and a quiet machine; holds the host's KSM alone meanwhile, and puts every setting back.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import polars as pl

from ksmbench.capture.pagemap import PRESENT, PageMap
from ksmbench.capture.procfs import parse_smaps, read_text
from ksmbench.capture.sources import Source, find_guests
from ksmbench.commands.options import parse_settings
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.replaying import replay
from ksmbench.trace.store import open_trace
from ksmbench.validate import sysfs
from ksmbench.validate.script import DEFAULTS
from workloads.debian_guests.guests import Guest
from workloads.debian_guests.image import build, cache_folder, install_host_packages

NAMES = ("live-1", "live-2")
COUNTERS = ("pages_sharing", "pages_shared", "ksm_zero_pages", "pages_unshared", "pages_volatile", "pages_scanned")
_SPACE_BITS = 53  # above any page number
_POLL_S = 0.002
_ENOUGH_S = 3600.0  # of a replay, at least
_PATIENCE_S = 300.0  # with ksmd


@dataclass(frozen=True)
class Held:
    """The guests' mergeable memory: the places (process, page) of the pages that hold a frame, and how many frames."""

    places: npt.NDArray[np.int64]  # ascending
    frames: int


def look(pids: Sequence[int]) -> Held:
    """See by the page tables what is there; nothing is read or stopped."""
    places, frames = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, pid in enumerate(pids):
        pagemap = PageMap(pid)
        for m in parse_smaps(read_text(pid, "smaps")):
            if "mg" in m.flags:
                pages = pagemap.look(m.start, m.end)
                here = pages.state == PRESENT
                places.append(pages.page[here] + (number << _SPACE_BITS))
                frames.append(pages.pfn[here])
        pagemap.close()
    return Held(np.concatenate(places), len(np.unique(np.concatenate(frames))))


@contextmanager
def guests(folder: Path, mebibytes: int) -> Iterator[list[Guest]]:
    """The pair, ready; ended when left."""
    image = build(cache_folder())
    with ExitStack() as ends:
        pair = []
        for name in NAMES:
            pair.append(Guest(image, folder, name, mebibytes, mergeable=True))
            ends.callback(pair[-1].end)
        for guest in pair:
            guest.wait_until_ready()
        yield pair


def _capture(output: Path, interval: float, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "ksmbench", "capture", "-o", str(output), "--interval", str(interval), *more]
    return subprocess.Popen([*command, "--qemu", *NAMES], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def recording(output: Path, interval: float) -> Iterator[None]:
    """A capture from before the body to after it."""
    process = _capture(output, interval)
    try:
        deadline = time.monotonic() + 60
        while not output.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)  # until its first look is published
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def scan(passes: int) -> float:
    """Let ksmd do `passes`; returns the seconds that took."""
    began = time.monotonic()
    before = int(sysfs.read("full_scans"))
    sysfs.store("run", 1)
    try:
        while int(sysfs.read("full_scans")) < before + passes:
            if time.monotonic() - began > _PATIENCE_S:
                raise click.ClickException(f"ksmd did not do {passes} passes in {_PATIENCE_S:.0f} s")
            time.sleep(_POLL_S)
    finally:
        sysfs.store("run", 0)
    return time.monotonic() - began


def _store(name: str, value: int | str) -> None:
    try:
        sysfs.store(name, value)
    except OSError as error:
        raise UsageError(f"--set {name}={value}: the kernel does not take it ({error.strerror})") from None


def run_live(folder: Path, settings: dict[str, int | str], passes: int, options: dict[str, float]) -> dict[str, float]:
    """Boot, record as `before`, scan and record as `during`; returns the counts."""
    with (
        sysfs.KsmSession(lambda: click.echo("waiting for another session that uses KSM", err=True)),
        tempfile.TemporaryDirectory(prefix="ksmbench-live-") as scratch,
        guests(Path(scratch), int(options["memory"])) as pair,
    ):
        pids = [guest.pid for guest in pair]
        for name, value in {**DEFAULTS, "sleep_millisecs": 20, **settings}.items():
            _store(name, value)
        time.sleep(options["settle"])
        process = _capture(folder / "before", options["interval"], "--duration", str(options["duration"]))
        if process.wait():
            raise click.ClickException("the guests could not be recorded")
        began = {name: int(sysfs.read(name)) for name in COUNTERS}
        found = look(pids)
        with recording(folder / "during", options["interval"]):
            seconds = scan(passes)
        now = look(pids)
        counts: dict[str, float] = {name: int(sysfs.read(name)) - began[name] for name in COUNTERS}
    # Without KSM every page that held a frame would have one of its own still: those of huge frames that were split
    # and full of zeros map the zero page now. Pages that map it now and were absent before have no frame to save.
    unmerged = len(np.union1d(found.places, now.places))
    return {"saved_frames": unmerged - now.frames, **counts, "seconds": seconds, "frames": unmerged}


def predicted(trace: Path, settings: dict[str, int | str], passes: int) -> dict[str, float]:
    """What the replay of the trace has after as many passes."""
    opened = open_trace(trace)
    options = {"sample": "batch", "ignore_tune": True, "until": _until(settings)}
    samples = replay(opened, **options, **settings).samples
    after = samples.filter(pl.col("full_scans") >= passes)
    if after.is_empty():
        raise click.ClickException(f"the replay did not come to {passes} passes")
    row = after.row(0, named=True)
    none = replay(opened, "none", sample="end", until=row["time_ns"] / 1e9).summary["frames"]
    counts = {name: row[name] for name in COUNTERS}
    return {"saved_frames": none - row["frames"], **counts, "seconds": row["time_ns"] / 1e9, "frames": none}


def _until(settings: dict[str, int | str]) -> float:
    # Long enough for the passes, and few enough batches to sample each.
    pause = max(1, int(settings.get("sleep_millisecs", 20))) / 1e3
    return min(_ENOUGH_S, 20_000 * pause)


def _difference(here: float, there: float) -> str:
    return f"{100 * (here - there) / there:+.2f} %" if there else ("same" if here == there else "-")


def table(live: dict[str, float], before: dict[str, float], during: dict[str, float]) -> str:
    """The three side by side."""
    lines = [f"{'':<16}{'live':>12}{'predicted':>12}{'':>10}{'with changes':>14}"]
    for name in ("saved_frames", *COUNTERS, "frames", "seconds"):
        cells = [f"{live[name]:>12,.6g}" if name == "seconds" else f"{live[name]:>12,.0f}"]
        for width, other in ((12, before), (14, during)):
            cells.append(f"{other[name]:>{width},.6g}" if name == "seconds" else f"{other[name]:>{width},.0f}")
            cells.append(f"{_difference(other[name], live[name]):>10}")
        lines.append(f"{name:<16}" + "".join(cells))
    return "\n".join(lines)


@contextmanager
def _one_sentence() -> Iterator[None]:
    # What this host lacks, or a mistake of the caller's, is no traceback: one sentence, exit status 2.
    try:
        yield
    except KsmbenchError as error:
        mistake = click.ClickException(str(error))
    except OSError as error:
        mistake = click.ClickException(f"{error.filename or 'this host'}: {error.strerror or error}")
    else:
        return
    mistake.exit_code = 2
    raise mistake


def _checked(given: Sequence[str], output: Path | None) -> dict[str, int | str]:
    # The settings; all that can be known before guests are booted.
    settings = parse_settings(given)
    problem = sysfs.why_not()
    if problem:
        raise UsageError(f"{problem}; ksmbench doctor says what this host lacks")
    for name in settings:
        if name not in sysfs.SETTINGS or not (sysfs.ROOT / name).exists():
            raise UsageError(f"--set {name}: this kernel's KSM has no such setting; ls {sysfs.ROOT} lists them")
    for name in () if output is None else ("before", "during"):
        if (output / name).exists():
            raise UsageError(f"{output / name} exists already; name another folder")
    running = [guest.name for guest in _guests_here() if guest.name in NAMES]
    if running:
        raise UsageError(f"guests named {', '.join(running)} run already; end them first")
    return settings


def _guests_here() -> list[Source]:
    try:
        return find_guests()
    except KsmbenchError:
        return []  # none runs


@click.command()
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A setting of KSM, for ksmd and the replay.")
@click.option("--passes", default=5, show_default=True, help="Full scans.")
@click.option("--memory", default=256, show_default=True, help="MiB of each guest.")
@click.option("--settle", default=45.0, show_default=True, help="Seconds that the guests idle before.")
@click.option("--duration", default=5.0, show_default=True, help="Seconds to record before ksmd runs.")
@click.option("--interval", default=1.0, show_default=True, help="Seconds between looks.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Keep the two traces in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(given: tuple[str, ...], passes: int, output: Path | None, as_json: bool, **options: float) -> None:
    """Compare a prediction of what KSM saves of two idle guests with the live ksmd on them."""
    with _one_sentence():
        settings = _checked(given, output)
        install_host_packages()
        with tempfile.TemporaryDirectory(prefix="ksmbench-traces-") as scratch:
            folder = output or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            live = run_live(folder, settings, passes, options)
            before = predicted(folder / "before", settings, passes)
            during = predicted(folder / "during", settings, passes)
    if as_json:
        facts = {"settings": settings, "passes": passes, "live": live, "predicted": before, "with_changes": during}
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(table(live, before, during))


if __name__ == "__main__":
    main()
