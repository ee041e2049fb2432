"""Runs `ksmbench` as a user does, in this process: a process of its own loads numba for half a second each time."""

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from ksmbench.cli import main


@dataclass(frozen=True)
class Done:
    """A finished command."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object) -> Done:
    """The command line with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    words = ["ksmbench", *map(str, arguments)]
    status: object = 0
    with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code
    assert isinstance(status, int)
    return Done(status, out.getvalue(), err.getvalue())


def assert_one_line_mistake(done: Done) -> None:
    """Exit status 2, nothing on standard output, one line on standard error that begins with the program's name."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("ksmbench: ")
    assert done.stderr.count("\n") == 1
