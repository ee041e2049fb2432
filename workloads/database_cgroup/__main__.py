"""`python -m workloads.database_cgroup -o TRACE`: starts a database and clients in a group and records the group."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from workloads.database_cgroup.server import server_command
from workloads.recording import Wanted, capture_of, environment, ksm_off, recorder


def _mount() -> Path:
    # Where control groups are: of version 2, else those of version 1's memory controller.
    with open("/proc/mounts", encoding="utf-8") as lines:
        found = [
            (kind == "cgroup2", place)
            for _, place, kind, options, *_ in map(str.split, lines)
            if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(","))
        ]
    if not found:
        raise click.ClickException("no control groups are mounted here: mount -t cgroup2 none /sys/fs/cgroup")
    return Path(max(found)[1])


@contextmanager
def group() -> Iterator[Path]:
    """A new control group, gone afterwards; what is in it must have ended then."""
    folder = _mount() / f"ksmbench-database-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


def _record(wanted: Wanted) -> int:
    server = server_command()
    with ksm_off(), group() as folder, tempfile.TemporaryDirectory(prefix="ksmbench-database-") as scratch:
        module = ["python", "-m", "workloads.database_cgroup.launcher"]
        how = [str(folder), scratch, str(wanted["records"]), str(wanted["clients"]), *server]
        launcher = subprocess.Popen([*module, *how], env=environment(), stdout=subprocess.PIPE, text=True)
        try:
            assert launcher.stdout is not None
            if launcher.stdout.readline().strip() != "ready":
                raise click.ClickException("the database did not start; what it said stands above")
            with capture_of(wanted, ["--cgroup", str(folder)]) as capture:
                pass
            return int(capture.returncode)
        finally:
            launcher.terminate()
            launcher.wait()


main = recorder("database-cgroup", _record)

if __name__ == "__main__":
    main()
