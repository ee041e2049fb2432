"""ksmbench: record real memory once, replay it through an exact model of Linux KSM.

`open_trace` reads and checks a trace, a `Trace` of arrays, and `write_trace` writes one. `replay` plays it through one
of `DESIGNS` and gives a `Result`; `compare` does so with several designs, `sweep` with every combination of settings,
`tune` searches the settings for a goal. Tables are polars data frames. Times are integers in nanoseconds of trace time
(`time_ns`) or floats in seconds, memory is in bytes, and counters and settings have the kernel's names and units.

A mistake is a `UsageError` or a `TraceError`, a failed run a `KsmbenchError`, which both of them are; the text is one
sentence for the user.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ksmbench.errors import KsmbenchError, TraceError, UsageError

if TYPE_CHECKING:
    from ksmbench.comparing import compare
    from ksmbench.designs import DESIGNS
    from ksmbench.replaying import replay
    from ksmbench.sweeping import sweep
    from ksmbench.trace.store import open_trace, write_trace
    from ksmbench.tuning import tune

__version__ = "0.1.0"
__all__ = [
    "DESIGNS",
    "KsmbenchError",
    "TraceError",
    "UsageError",
    "compare",
    "open_trace",
    "replay",
    "sweep",
    "tune",
    "write_trace",
]

# Loaded on first use, so that `ksmbench --help` does not wait for pyarrow and numba.
_LAZY = {
    "DESIGNS": "ksmbench.designs",
    "compare": "ksmbench.comparing",
    "open_trace": "ksmbench.trace.store",
    "replay": "ksmbench.replaying",
    "sweep": "ksmbench.sweeping",
    "tune": "ksmbench.tuning",
    "write_trace": "ksmbench.trace.store",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
