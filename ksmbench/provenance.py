"""Where a result comes from: the trace, the versions, the machine. Written into every file that this project makes."""

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from ksmbench import __version__
from ksmbench.engine.cost import CostProfile
from ksmbench.trace.columns import Trace

_PACKAGES = ("numba", "numpy", "polars", "pyarrow")
_CAPTURE_FACTS = ("tool", "version", "interval_ns", "consistency", "end")


def trace_identity(trace: Trace) -> dict[str, Any]:
    """What tells `trace` from others: its name, label, id and sizes, and how it was captured."""
    manifest = trace.manifest
    capture = manifest.get("capture") or {}
    host = manifest.get("host") or {}
    return {
        "name": trace.path.name if trace.path else trace.url,
        "label": manifest.get("label"),
        "trace_id": manifest.get("trace_id"),
        "created": manifest.get("created"),
        "spaces": len(trace.spaces),
        "events": len(trace.events.kind),
        "contents": len(trace.contents.lcp),
        "host_kernel": host.get("kernel") or host.get("release"),
        "capture": {name: capture[name] for name in _CAPTURE_FACTS if name in capture},
    }


def versions(*more: str) -> dict[str, Any]:
    """What ran where: ksmbench, Python, its packages with `more` of them, and the host."""
    return {
        "ksmbench": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in sorted((*_PACKAGES, *more))},
        "host": {"kernel": platform.release(), "machine": platform.machine(), "platform": sys.platform},
    }


def provenance(trace: Trace, profile: CostProfile | None) -> dict[str, Any]:
    """Trace, cost profile (None: scanning takes no time), versions and host, ready for JSON."""
    return {
        "trace": trace_identity(trace),
        "cost": profile.identity() if profile else None,
        **versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
