"""A progress bar on a terminal, and nothing in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_STEPS = 1000


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[float], None] | None]:
    """A function that is told the part done, 0 to 1, and draws it on standard error; None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    drawn = 0
    with click.progressbar(length=_STEPS, label=label, file=sys.stderr) as bar:

        def tell(part: float) -> None:
            nonlocal drawn
            step = int(part * _STEPS) - drawn
            if step > 0:
                drawn += step
                bar.update(step)

        yield tell
