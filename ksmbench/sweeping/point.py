"""One replay of a sweep: what a worker is given, wherever it runs, and what it gives back."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

import ksmbench
from ksmbench.engine.cost import CostProfile
from ksmbench.errors import KsmbenchError
from ksmbench.jit import numba_config
from ksmbench.metrics.sharing import Sharing
from ksmbench.replaying import replay
from ksmbench.sweeping.grid import complete
from ksmbench.tasks import Task
from ksmbench.trace.columns import Trace
from ksmbench.trace.store import open_trace

_OPENED = 4  # traces that a worker keeps
PACKAGE = Path(ksmbench.__file__).parent


@lru_cache(maxsize=1)
def engine() -> str:
    """What tells the results of these sources, metrics and policies among them, from others', or another numba's."""
    digest = hashlib.blake2b(Path(numba_config.CACHE_DIR).name.encode(), digest_size=8)  # of what is compiled
    for source in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(source.relative_to(PACKAGE)).encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def trace_digest(trace: Trace) -> str:
    """What tells `trace` from every other, whatever it is called."""
    digest = hashlib.blake2b(digest_size=16)
    facts = [trace.page_size, [(space.pid, space.name, space.kind) for space in trace.spaces], list(trace.names)]
    digest.update(json.dumps(facts).encode())
    for array in (*trace.events, *trace.contents):
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Point:
    """One replay."""

    task: Task
    path: str  # of the trace
    trace: str  # its digest
    cost: CostProfile | None
    until: float | None
    mergeable: str
    ignore_tune: bool | tuple[str, ...]
    host_memory: int | None
    max_memory: int
    engine: str
    sharing: bool = False  # also who shares what at the end; the rest of what it gives is the same

    @property
    def identity(self) -> str:
        """What tells its result from all others: the same in another sweep, and in another process."""
        spec = self.task.spec
        facts = {
            "trace": self.trace,
            "design": spec.design,
            "settings": complete(spec),
            "policy": spec.policy,
            "host_memory": self.host_memory,
            "sample": self.task.sample,
            "cost": self.cost.as_dict() if self.cost else None,
            "until": self.until,
            "mergeable": self.mergeable,
            "ignore_tune": self.ignore_tune,
            "engine": self.engine,
        }
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=12).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What a replay gave: its samples, everything else as JSON takes it, and where it was asked for who shares what."""

    samples: pl.DataFrame
    summary: dict[str, Any]
    provenance: dict[str, Any]
    sharing: Sharing | None = None


@lru_cache(maxsize=_OPENED)
def _opened(path: str, digest: str, max_memory: int) -> Trace:
    trace = open_trace(path, max_memory=max_memory)
    if trace_digest(trace) != digest:
        raise ValueError(f"{path} is another trace there than here")
    return trace


def replay_point(point: Point) -> Outcome | KsmbenchError:
    """Replay `point`; gives back an error that it always ends with, and raises what may go better elsewhere."""
    if point.engine != engine():
        raise ValueError("its version of ksmbench or numba is another one")
    spec = point.task.spec
    settings: dict[str, Any] = dict(spec.settings)
    try:
        result = replay(
            _opened(point.path, point.trace, point.max_memory),
            spec.design,
            sample=point.task.sample,
            cost=point.cost or "none",
            until=point.until,
            mergeable=point.mergeable,
            ignore_tune=point.ignore_tune,
            policy=spec.policy,
            host_memory=point.host_memory,
            max_memory=point.max_memory,
            sharing=point.sharing,
            **settings,
        )
    except KsmbenchError as error:
        return type(error)(f"{spec} on {point.task.label}: {error}")
    return Outcome(result.samples, result.summary, result.options | result.provenance, result.sharing)
