"""A trace as the arrays that compiled code sees: read-only, C-contiguous, of one dtype each.

`Events` and `Contents` are made in one place (`ksmbench.trace.store`) so that every kernel is compiled once.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Events(NamedTuple):
    """The events in replay order; every array has one element per event."""

    time_ns: npt.NDArray[np.int64]  # ns since the trace began, never decreases
    kind: npt.NDArray[np.uint8]  # ksmbench.trace.schema.Kind
    space: npt.NDArray[np.int32]  # row of the spaces
    page: npt.NDArray[np.int64]  # first virtual page number
    n_pages: npt.NDArray[np.int64]  # the column `count`
    value: npt.NDArray[np.int64]  # per verb
    node: npt.NDArray[np.uint8]  # NUMA node of what is allocated
    name: npt.NDArray[np.int32]  # row of Trace.names, -1 for none


class Contents(NamedTuple):
    """The distinct page contents in memcmp order; row 0 is the zero page."""

    lcp: npt.NDArray[np.uint16]  # bytes in common with the row before
    checksum: npt.NDArray[np.uint32]  # equal where KSM's checksum is equal


@dataclass(frozen=True)
class Space:
    """One address space: a process's mm or a VM."""

    pid: int | None
    name: str
    kind: str
    domain: str | None = None


@dataclass(frozen=True)
class Trace:
    """A validated trace.

    `names` holds the distinct texts that `events.name` points to. `path` is None for a trace that was never a folder.
    """

    manifest: dict[str, Any]
    spaces: tuple[Space, ...]
    events: Events
    contents: Contents
    names: tuple[str, ...] = ()
    path: Path | None = None
    url: str | None = field(default=None, kw_only=True)  # where it was copied from
    fingerprint: npt.NDArray[np.uint8] | None = None  # [n_contents, 16] keyed hashes, zeros where there is none

    @property
    def page_size(self) -> int:
        """Bytes per page."""
        return int(self.manifest["page_size"])

    @property
    def host_memory(self) -> int:
        """Bytes of memory of the host that it was recorded on; 0 where the manifest does not tell."""
        host = self.manifest.get("host")
        found = host.get("memory_bytes") if isinstance(host, dict) else None
        return found if isinstance(found, int) and found > 0 else 0
