"""A progress bar on a terminal, and nothing in a pipe."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import click

_STEPS = 1000


def _tell_of_compiling() -> None:
    # A bar that stands still for a while looks like a fault.
    from ksmbench.jit import is_cold

    if is_cold():
        click.echo("compiling the engine, once for this version: about a quarter of a minute", err=True)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[float], None] | None]:
    """A function that is told the part done of a replay, 0 to 1, and draws it on standard error.

    None where that is no terminal.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # None where it is closed
        yield None
        return
    _tell_of_compiling()
    drawn = 0
    with click.progressbar(length=_STEPS, label=label, file=sys.stderr) as bar:

        def tell(part: float) -> None:
            nonlocal drawn
            step = int(part * _STEPS) - drawn
            if step > 0:
                drawn += step
                bar.update(step)

        yield tell


@dataclass
class Counter:
    """Replays done, of how many; drawn on a terminal with their rate and the time left."""

    draws: bool
    done: int = 0
    total: int = 0
    kept: int = 0  # done before this run
    begin: float = 0.0

    def tell(self, done: int, total: int) -> None:
        """`done` of `total` replays are there; the first call says how many were before."""
        now = time.monotonic()
        if not self.total:
            self.kept, self.begin = done, now
        self.done, self.total = done, total
        if self.draws:
            click.echo(f"\r\x1b[K{self.said()}{self._pace(now - self.begin)}", err=True, nl=False)

    def said(self) -> str:
        """Such as "17 of 203 replays are done"."""
        return f"{self.done:,} of {self.total:,} replays are done"

    def _pace(self, seconds: float) -> str:
        n = self.done - self.kept
        if n == 0 or seconds <= 0:
            return ""
        left = round((self.total - self.done) * seconds / n)
        hours, minutes = left // 3600, left // 60 % 60
        shown = f"{hours}:{minutes:02}:{left % 60:02}" if hours else f"{minutes}:{left % 60:02}"
        return f", {n / seconds:.1f} per second, {shown} left"


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


@contextmanager
def replay_counter(kept: bool = True) -> Iterator[Counter]:
    """A `Counter` on standard error; one that draws nothing where that is no terminal.

    SIGINT and SIGTERM end what is done meanwhile with a sentence on how far it came, and where what is done is `kept`,
    how to go on.
    """
    counter = Counter(draws=sys.stderr is not None and sys.stderr.isatty())
    if counter.draws:
        _tell_of_compiling()
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield counter
    except KeyboardInterrupt as stopped:
        again = "; the same command goes on from there" if kept else ""
        click.echo(f"\nksmbench: stopped; {counter.said()}{again}", err=True)
        raise click.exceptions.Exit(128 + (stopped.args[0] if stopped.args else signal.SIGINT)) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        if counter.draws and counter.total:
            click.echo(err=True)
