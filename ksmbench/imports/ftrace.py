"""The text of tracefs' files `trace` and `trace_pipe`, and of `trace-cmd report`."""

import re

from ksmbench.imports.printed import Printed, PrintedEvents
from ksmbench.syscalls.sink import Sink

_LINE = re.compile(
    r"\s*(?P<comm>\S.*?)-(?P<tid>\d+)\s+(?:\(\s*(?P<process>\d+|-+)\)\s+)?\[\d+\]\s+(?:[^\s:]+\s+)?"
    r"(?P<seconds>\d+)\.(?P<part>\d{1,9}): (?P<rest>.*)"
)
_CALL = re.compile(r"sys_(\w+)\((.*)\)")
_RESULT = re.compile(r"sys_(\w+) -> (.*)")
_EVENT = re.compile(r"(\w+):\s*(.*)")
_LOST = re.compile(r"CPU:?\s?\d+:? \[(?:LOST )?(\d*)\s?EVENTS(?: DROPPED)?\]")
_WRITTEN = re.compile(r"# entries-in-buffer/entries-written: (\d+)/(\d+)")


class FtraceText:
    """Takes lines and tells `sink` the calls."""

    def __init__(self, sink: Sink) -> None:
        self.events = PrintedEvents(sink)

    def line(self, text: str) -> None:
        """A line; one that is no event is passed by."""
        found = _LINE.match(text)
        if found is None:
            self._lost(text)
            return
        rest = found["rest"]
        if call := _CALL.match(rest):
            name, told = f"sys_enter_{call[1]}", call[2]
        elif result := _RESULT.match(rest):
            name, told = f"sys_exit_{result[1]}", result[2]
        elif event := _EVENT.match(rest):
            name, told = event[1], event[2]
        else:
            return
        time = int(found["seconds"]) * 10**9 + int(found["part"].ljust(9, "0"))
        process = int(found["process"]) if (found["process"] or "-")[0] != "-" else None
        self.events.event(Printed(time, int(found["tid"]), process, found["comm"], name, told))

    def _lost(self, text: str) -> None:
        if written := _WRITTEN.match(text):
            self.events.n_lost += max(0, int(written[2]) - int(written[1]))
        elif lost := _LOST.match(text):
            self.events.n_lost += int(lost[1] or 1)

    def end(self) -> list[str]:
        """There is no more; returns what is to be known about the log."""
        return self.events.notes()
