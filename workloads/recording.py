"""What recipes that record real programs have in common: sole use of this machine's KSM, and the capture's call."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from ksmbench.validate.lock import take_lock

_RUN = Path("/sys/kernel/mm/ksm/run")


@contextmanager
def ksm_off() -> Iterator[None]:
    """Hold the lock of whoever touches KSM, and be sure that ksmd merges nothing of what is recorded."""
    with take_lock():
        if _RUN.exists() and _RUN.read_text().strip() == "1":
            raise click.ClickException(f"ksmd runs here and would merge what is recorded; write 0 to {_RUN} first")
        yield


@contextmanager
def capture_of(
    output: Path, command: Sequence[str], *, interval: float, duration: float, notes: str, force: bool
) -> "Iterator[subprocess.Popen[bytes]]":
    """`ksmbench capture` of a command, which is started and ended with it; ends in order where the caller fails."""
    # `python -m workloads.X` puts the module's path in the first place.
    module = Path(sys.argv[0]).parent.name
    recipe = ["python", "-m", f"workloads.{module}", *(word for word in sys.argv[1:] if word != "--force")]
    words = [sys.executable, "-m", "ksmbench", "capture", "-o", str(output)]
    words += ["--interval", str(interval), "--duration", str(duration), "--label", output.name, "--notes", notes]
    words += ["--recipe", shlex.join(recipe), *(["--force"] if force else []), "--", *command]
    # The command is "python ...": this one, whose place on this machine is not for a manifest.
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    process = subprocess.Popen(words, env={**os.environ, "PATH": path, "PYTHONHASHSEED": "0"})
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
