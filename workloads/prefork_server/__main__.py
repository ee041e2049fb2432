"""`python -m workloads.prefork_server -o TRACE`: starts the server under a capture and sends it requests."""

import tempfile
import time
from pathlib import Path

import click

from workloads.prefork_server.load import send
from workloads.recording import Wanted, capture_of, ksm_off, recorder


def record_server(wanted: Wanted, module: str, **load: float) -> int:
    """Record the server `python -m module SOCKET` while clients send it requests; returns the capture's status."""
    with ksm_off(), tempfile.TemporaryDirectory(prefix="ksmbench-prefork-") as scratch:
        path = Path(scratch) / "server"
        with capture_of(wanted, ["--", "python", "-m", module, str(path)]) as capture:
            while capture.poll() is None and not path.exists():
                time.sleep(0.05)
            answered = send(str(path), lambda: capture.poll() is None, **load)
    click.echo(f"{answered:,} requests were answered", err=True)
    return int(capture.returncode)


main = recorder("prefork-server", lambda wanted: record_server(wanted, "workloads.prefork_server.service"))

if __name__ == "__main__":
    main()
