"""What is in a trace, as a dict that `ksmbench info` prints."""

from typing import Any

import numpy as np

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import KIND_NAMES


def describe(trace: Trace) -> dict[str, Any]:
    """Count the spaces, events by verb, contents and seconds of `trace`."""
    events = trace.events
    counts = np.bincount(events.kind, minlength=len(KIND_NAMES))
    span = int(events.time_ns[-1] - events.time_ns[0]) if len(events.time_ns) else 0
    return {
        "label": trace.manifest.get("label", ""),
        "page_size": trace.page_size,
        "spaces": len(trace.spaces),
        "seconds": span / 1e9,
        "events": int(len(events.kind)),
        "events_by_verb": {name: int(n) for name, n in zip(KIND_NAMES, counts, strict=True) if n},
        "contents": int(len(trace.contents.lcp)),
    }
