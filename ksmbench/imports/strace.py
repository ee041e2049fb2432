"""The log of `strace -f -ttt -e trace=%memory,%process,prctl`."""

from ksmbench.syscalls.sink import Sink
from ksmbench.syscalls.strace import StraceLog, parse_line


class StraceText:
    """Takes lines and tells `sink` the calls; a line without a time is passed by."""

    def __init__(self, sink: Sink) -> None:
        self._log = StraceLog(sink)

    def line(self, text: str) -> None:
        """A line."""
        if line := parse_line(text):
            self._log.line(line)

    def end(self) -> list[str]:
        """There is no more; returns what is to be known about the log."""
        self._log.end()
        return [f"{self._log.n_unread:,} lines could not be read"] if self._log.n_unread else []
