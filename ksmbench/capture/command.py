"""A command that is started for a capture, and ended with it."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace

from ksmbench.capture.sources import Source, find_processes
from ksmbench.errors import KsmbenchError, UsageError

_GRACE_S = 10.0


class Started:
    """Starts the command when called; it has the terminal, as under `time` or `perf record`."""

    def __init__(self, words: Sequence[str], follow: bool, selection: str) -> None:
        if not words:
            raise UsageError("-- is followed by no command to start and record")
        self._words = list(words)
        self._follow = follow
        self._selection = selection
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> Source:
        """Start it and return the process; raises `KsmbenchError`."""
        try:
            self._process = subprocess.Popen(self._words)
        except OSError as error:
            raise KsmbenchError(f"{self._words[0]} cannot be started: {error.strerror}") from None
        [source] = find_processes([self._process.pid], follow=self._follow, selection=self._selection)
        return replace(source, name=os.path.basename(self._words[0])[:15])  # the kernel names it a moment later

    def end(self) -> None:
        """Terminate it where it still runs; it gets some seconds to end in its own way. Its children are its matter."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
