"""What recipes that record real programs have in common: their command, sole use of KSM, and the capture's call."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ksmbench.errors import UsageError
from ksmbench.recipes import Recipe, Value, find, root
from ksmbench.validate.lock import take_lock
from workloads.commands import WorkloadCommand, output_options

_RUN = Path("/sys/kernel/mm/ksm/run")


@dataclass(frozen=True)
class Wanted:
    """One recording: the recipe, where its trace goes, and every setting, given or not."""

    recipe: Recipe
    output: Path
    force: bool
    settings: dict[str, Value]

    def __getitem__(self, name: str) -> Value:
        return self.settings[name]

    @property
    def duration(self) -> float:
        """Seconds to record."""
        return float(self.settings["duration"])

    def recipe_command(self) -> str:
        """The command that makes such a trace again."""
        words = ["ksmbench", "workload", "run", self.recipe.name, "-o", str(self.output)]
        for key, value in self.settings.items():
            if value != self.recipe.settings[key]:
                words += ["--set", f"{key}={value}"]
        return shlex.join(words)

    def capture_words(self) -> list[str]:
        """The call of `ksmbench capture`, but for what is recorded."""
        words = [sys.executable, "-m", "ksmbench", "capture", "-o", str(self.output)]
        words += ["--interval", str(self.settings["interval"]), "--duration", str(self.duration)]
        words += ["--label", self.output.name, "--notes", self.recipe.notes.format(**self.settings)]
        words += ["--recipe", self.recipe_command(), *self.recipe.options]
        return [*words, *(["--force"] if self.force else [])]


def recorder(name: str, record: Callable[[Wanted], int]) -> click.Command:
    """The command of the workload `name`: it takes what its files set, calls `record`, and ends with its status."""
    recipe = find(name)

    def call(output: Path, force: bool, **settings: Value) -> None:
        if output.exists() and not force:
            raise UsageError(f"{output} exists already; choose another name or pass --force")
        # A terminated recipe ends what it started, as an interrupted one does.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        sys.exit(record(Wanted(recipe, output, force, settings)))

    settings = [
        click.Option([f"--{key.replace('_', '-')}"], default=value, show_default=True, type=type(value))
        for key, value in recipe.settings.items()
    ]
    return WorkloadCommand(name, callback=call, params=[*output_options(), *settings], help=recipe.stands_for)


@contextmanager
def ksm_off() -> Iterator[None]:
    """Hold the lock of whoever touches KSM, and be sure that ksmd merges nothing of what is recorded."""
    with take_lock(lambda: click.echo("waiting for another session that uses KSM", err=True)):
        if _RUN.exists() and _RUN.read_text().strip() == "1":
            raise click.ClickException(f"ksmd runs here and would merge what is recorded; write 0 to {_RUN} first")
        yield


def environment() -> dict[str, str]:
    """For the programs that are recorded: they find `workloads`, and "python" is this one."""
    # Its place on this machine is not for a manifest, nor does it matter to who makes the trace again.
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    modules = os.pathsep.join([str(root()), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PATH": path, "PYTHONPATH": modules, "PYTHONHASHSEED": "0"}


@contextmanager
def capture_of(wanted: Wanted, target: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """`ksmbench capture` of `target`: ["--", COMMAND …], which is started and ended with it, or what else it takes.

    Ends in order where the caller fails.
    """
    process = subprocess.Popen([*wanted.capture_words(), *target], env=environment())
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def capture_command(wanted: Wanted, module: str, *arguments: str) -> int:
    """Record `python -m module` with its children from its start; returns the capture's status."""
    with ksm_off(), capture_of(wanted, ["--", "python", "-m", module, *arguments]) as capture:
        pass
    return int(capture.returncode)
