"""`import`: files of one format become the spaces of a trace, several dumps of one space its moments."""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ksmbench import __version__
from ksmbench.engine.clock import END_OF_TIME
from ksmbench.errors import UsageError
from ksmbench.imports.criu import read_criu
from ksmbench.imports.dump import PAGE_SIZE, Dump, check_extents, n_bytes, refuse
from ksmbench.imports.elf import read_elf
from ksmbench.imports.flat import read_cloud_hypervisor, read_firecracker, read_raw
from ksmbench.imports.lime import read_lime
from ksmbench.imports.logs import LOGS, read_log
from ksmbench.imports.timeline import ZEROES, Timeline
from ksmbench.trace.columns import Space, Trace
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.rows import Rows
from ksmbench.trace.schema import FORMAT, VERSION, Kind

Progress = Callable[[float], None]  # told the part that is done, from 0 to 1
_PAGES_PER_PIECE = 4096
_HINT = (
    "a dump does not tell who asked for merging, so in this trace nobody does: replay it with --mergeable all, "
    "or import it with --mergeable"
)


class _Reads(Protocol):
    def __call__(self, path: Path, *, is_first: bool) -> list[Dump]: ...


READERS: dict[str, _Reads] = {
    "raw": read_raw,
    "elf": read_elf,
    "lime": read_lime,
    "firecracker": read_firecracker,
    "cloud-hypervisor": read_cloud_hypervisor,
    "criu": read_criu,
}


@dataclass(frozen=True)
class Wanted:
    """What to import: files of one format, their moments and names (none, or one for each), and how to take them."""

    format: str
    files: Sequence[Path]
    at_s: Sequence[float] = ()
    names: Sequence[str] = ()
    zeroes: str = ZEROES[0]
    asks: bool = False
    label: str = ""
    log: str = ""  # FORMAT:FILE, which tells what happens between the dumps
    log_start: str = ""  # the log's time at trace time 0


@dataclass(frozen=True)
class Moment:
    """A file that is to be taken at a time of the trace."""

    time_ns: int
    file: Path
    space: str  # the key of its space; several with --at and no names


def moments_of(wanted: Wanted) -> list[Moment]:
    """The files in the order of their times; raises `UsageError` where these cannot be meant."""
    n = len(wanted.files)
    for what, given in (("--at", wanted.at_s), ("--name", wanted.names)):
        if given and len(given) != n:
            raise UsageError(f"{len(given)} times {what} for {n} files; give one for each, or none")
    for seconds in wanted.at_s:
        if not 0 <= seconds <= END_OF_TIME / 1e9:
            raise UsageError(f"--at {seconds:g}: must be 0 or more seconds, within what a trace's clock holds")
    times = [round(seconds * 1e9) for seconds in wanted.at_s] or [0] * n
    keys = list(wanted.names) or (["all"] * n if wanted.at_s else [str(i) for i in range(n)])
    moments = [Moment(*cells) for cells in zip(times, wanted.files, keys, strict=True)]
    if len({(moment.time_ns, moment.space) for moment in moments}) < n:
        raise UsageError(
            "two files are of one moment of one space; give different times with --at, or names with --name"
        )
    return sorted(moments, key=lambda moment: moment.time_ns)


class _Import:
    def __init__(self, wanted: Wanted, store: ContentStore, progress: Progress | None) -> None:
        self.wanted = wanted
        self.store = store
        self.rows = Rows()
        self.lines: dict[tuple[str, object], Timeline] = {}
        self.spaces: list[Space] = []
        self.sources: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._progress = progress
        self._done = self._all = 0

    def run(self) -> None:
        moments = moments_of(self.wanted)
        read = READERS[self.wanted.format]
        begun: set[str] = set()
        dumps: list[tuple[Moment, list[Dump]]] = []
        for moment in moments:
            found = read(moment.file, is_first=moment.space not in begun)
            begun.add(moment.space)
            for dump in found:
                check_extents(dump)
                self._all += n_bytes(dump)
            dumps.append((moment, found))
        for moment, found in dumps:
            for dump in found:
                self._add(moment, dump, len(found))
            self._end_others(moment, {self._key(moment, dump) for dump in found})

    def _key(self, moment: Moment, dump: Dump) -> tuple[str, object]:
        # CRIU's images are of a tree of processes.
        return moment.space, dump.pid if self.wanted.format == "criu" else None

    def _end_others(self, moment: Moment, found: set[tuple[str, object]]) -> None:
        for key in [key for key in self.lines if key[0] == moment.space and key not in found]:
            self.rows.add(moment.time_ns, Kind.EXIT, self.lines.pop(key).space)

    def _add(self, moment: Moment, dump: Dump, n_dumps: int) -> None:
        key = self._key(moment, dump)
        if key not in self.lines:
            named = moment.space if self.wanted.names else dump.name
            if self.wanted.names and n_dumps > 1:
                named = f"{named}-{dump.pid}"
            number = len(self.spaces)
            self.spaces.append(Space(dump.pid, named, dump.kind))
            self.lines[key] = Timeline(number, self.rows, self.store, self.wanted.zeroes, self.wanted.asks)
        line = self.lines[key]
        line.add(moment.time_ns, dump, self._tell)
        self.notes += [note for note in dump.notes if note not in self.notes]
        self.sources.append(
            {"file": moment.file.name, "at_ns": moment.time_ns, "space": line.space, "pages": len(line.pages)}
        )

    def _tell(self, n: int) -> None:
        self._done += n
        if self._progress is not None:
            self._progress(min(1.0, self._done / max(1, self._all)))


def import_dumps(wanted: Wanted, store: ContentStore, progress: Progress | None = None) -> tuple[Trace, list[str]]:
    """Read what is wanted into a trace; `store` holds the contents. Also returns what is to be known about it.

    Raises `UsageError` for a file that is broken or something else, before a trace is written.
    """
    if wanted.format in LOGS:
        return _import_log(wanted, store)
    if wanted.zeroes not in ZEROES:
        raise UsageError(f"zeroes {wanted.zeroes!r}: must be one of {', '.join(ZEROES)}")
    work = _Import(wanted, store, progress)
    work.run()
    if not any(source["pages"] for source in work.sources):
        refuse(Path(wanted.files[0]), "holds no page that is present, so there is nothing to import")
    events = work.rows.events()
    ranking = store.rank()
    value, writes = events.value.copy(), events.kind == Kind.WRITE
    value[writes] = ranking.rank[value[writes]]
    value.setflags(write=False)
    notes = work.notes if wanted.asks else [*work.notes, _HINT]
    trace = Trace(
        _manifest(wanted, work),
        tuple(work.spaces),
        events._replace(value=value),
        ranking.contents,
        tuple(work.rows.names),
    )
    return trace, notes


def _import_log(wanted: Wanted, store: ContentStore) -> tuple[Trace, list[str]]:
    if len(wanted.files) > 1 or wanted.at_s or wanted.names:
        raise UsageError(f"{wanted.format} takes one log, without --at and --name: times and processes stand in it")
    calls, notes, facts = read_log(wanted.format, wanted.files[0])
    manifest = manifest_head(wanted) | {
        "capture": {
            "tool": f"ksmbench {__version__} import",
            "imported_from": wanted.format,
            "sources": [{"file": wanted.files[0].name, **facts}],
            "tracked": ["mappings", "advice", "forks, execs and exits"],
            "not_tracked": notes,
        }
    }
    trace = Trace(manifest, tuple(calls.spaces), calls.events(), store.rank().contents, tuple(calls.rows.names))
    return trace, notes


def manifest_head(wanted: Wanted) -> dict[str, Any]:
    """What the manifest of any import begins with."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "page_size": PAGE_SIZE,
        "trace_id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "label": wanted.label or os.path.basename(wanted.files[0].resolve()),
    }


def _manifest(wanted: Wanted, work: _Import) -> dict[str, Any]:
    return manifest_head(wanted) | {
        "capture": {
            "tool": f"ksmbench {__version__} import",
            "imported_from": wanted.format,
            "sources": work.sources,
            "zeroes": f"a page of zeros counts as: {wanted.zeroes}",
            "tracked": ["contents of pages at the moments of the dumps"],
            "not_tracked": [
                "what happened between two dumps",
                "huge frames, frames that fork shares, NUMA nodes",
                *([] if wanted.asks else ["who asked for merging"]),
                *work.notes,
            ],
        },
    }


def ranked_pages(store: ContentStore) -> Iterator[npt.NDArray[np.uint8]]:
    """The bytes of all contents of the store, in their order."""
    rank = store.rank().rank
    order = np.empty(len(rank), np.int64)
    order[rank] = np.arange(len(rank))
    for start in range(0, len(order), _PAGES_PER_PIECE):
        yield store.read(order[start : start + _PAGES_PER_PIECE])
