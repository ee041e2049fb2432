"""A progress bar on a terminal, and nothing in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_STEPS = 1000


def _tell_of_compiling() -> None:
    # A bar that stands still for a while looks like a fault.
    from ksmbench.engine.jit import is_cold

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
