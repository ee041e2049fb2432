"""The text of `perf script`."""

import re

from ksmbench.imports.printed import Printed, PrintedEvents
from ksmbench.syscalls.sink import Sink

_LINE = re.compile(
    r"\s*(?P<comm>\S.*?)\s+(?:(?P<process>-?\d+)\s*/\s*)?(?P<tid>-?\d+)\s+(?:\[\d+\]\s+)?"
    r"(?P<seconds>\d+)\.(?P<part>\d{1,9}):\s+(?:\d+\s+)?(?P<rest>.*)"
)
_EVENT = re.compile(r"(?:syscalls|task|sched):(\w+):\s*(.*)")
_LOST = re.compile(r"PERF_RECORD_LOST(?:_SAMPLES)? lost (\d+)")


class PerfText:
    """Takes lines and tells `sink` the calls."""

    def __init__(self, sink: Sink) -> None:
        self.events = PrintedEvents(sink)

    def line(self, text: str) -> None:
        """A line; one that is no event of a tracepoint is passed by."""
        found = _LINE.match(text)
        if found is None:
            return
        if lost := _LOST.match(found["rest"]):
            self.events.n_lost += int(lost[1])
        elif event := _EVENT.match(found["rest"]):
            time = int(found["seconds"]) * 10**9 + int(found["part"].ljust(9, "0"))
            process = int(found["process"]) if found["process"] else None
            self.events.event(Printed(time, int(found["tid"]), process, found["comm"], event[1], event[2]))

    def end(self) -> list[str]:
        """There is no more; returns what is to be known about the log."""
        return self.events.notes()
