"""ksmbench: record real memory once, replay it through an exact model of Linux KSM."""

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
