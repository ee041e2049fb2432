"""What the player found: the kernel's counters after every batch, as tables like those of a replay."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from ksmbench.engine.counters import SPACE_COUNTERS
from ksmbench.errors import KsmbenchError
from ksmbench.validate.script import UnplayableError

_MAGIC = b"ksmdone1"
_HEAD = 24  # magic, batches done, whether complete
_ABSENT = -(1 << 63)
_KSM_BIT = -(1 << 63)
# The tags of the records.
_NAMES, _ROW, _TUNED, _FAILED, _MERGED, _FINISHED, _PLACED = range(1, 8)
# Counted from the start of the play. ksm_zero_pages is among them because a kernel can be left with some for ever: a
# fork adds all of the parent's to the total, also those in mappings that it does not copy (MADV_DONTFORK).
_SINCE_BOOT = ("pages_scanned", "pages_skipped", "cow_breaks", "ksm_zero_pages", "general_profit")


@dataclass(frozen=True)
class Played:
    """What the kernel did: `samples` one row per batch, `spaces` one per batch and living space.

    Columns that the kernel does not tell are missing from both.
    """

    samples: pl.DataFrame
    spaces: pl.DataFrame
    ksmd_cpu_ns: list[int]  # per batch
    refused: dict[int, int]  # tune events that the kernel refused: row to errno
    places: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)  # see ksmbench.validate.placing
    merges: dict[int, str] = field(default_factory=dict)  # time_ns to tracefs' lines of that batch


def batches_done(path: Path) -> int:
    """How many batches the player has run so far."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return 0
    return int(struct.unpack_from("<Q", head, 8)[0]) if len(head) == _HEAD else 0


def _records(data: bytes) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {tag: [] for tag in range(_NAMES, _PLACED + 1)}
    at = _HEAD
    while at + 8 <= len(data):
        tag, n_bytes = struct.unpack_from("<II", data, at)
        found.setdefault(tag, []).append(data[at + 8 : at + 8 + n_bytes])
        at += 8 + n_bytes
    return found


def _known(columns: dict[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
    return {name: column for name, column in columns.items() if not (column == _ABSENT).any()}


def _of_batches(records: list[bytes]) -> list[tuple[int, bytes]]:
    # Those about a batch; the first row of all was before the first batch.
    found = [(int(struct.unpack_from("<q", record)[0]), record[8:]) for record in records]
    return [(batch, rest) for batch, rest in found if batch >= 0]


def _places(rest: bytes, shift: int) -> npt.NDArray[np.int64]:
    places = np.frombuffer(rest, np.int64).reshape(-1, 3)
    frame = places[:, 2]
    return np.column_stack([places[:, 0], places[:, 1] - shift, frame & ~_KSM_BIT, frame < 0])


def read_result(path: Path, times: npt.NDArray[np.int64], shift: int = 0) -> Played:
    """The result of a play whose batches were at `times`, of a trace that was moved by `shift` pages.

    Raises with the player's own sentence where it failed: `UnplayableError` at an event, else `KsmbenchError`.
    """
    data = path.read_bytes() if path.exists() else b""
    records = _records(data) if data[:8] == _MAGIC else {}
    for failure in records.get(_FAILED, []):
        (event,) = struct.unpack_from("<q", failure)
        why = failure[8:].decode(errors="replace")
        raise UnplayableError(f"row {event}: {why}") if event >= 0 else KsmbenchError(why)
    if not records or not records[_FINISHED]:
        raise KsmbenchError("the player ended before its time and left no reason")
    names = records[_NAMES][0].decode().split("\n")
    n = 2 + len(names)
    rows = [np.frombuffer(row, np.int64) for row in records[_ROW]]
    table = np.array([row[:n] for row in rows], np.int64)
    base, table = table[0, 2:], table[1:]
    columns = {"time_ns": times} | {name: table[:, 2 + i] for i, name in enumerate(names)}
    for i, name in enumerate(names):
        if name in _SINCE_BOOT and base[i] != _ABSENT:
            columns[name] = columns[name] - base[i]
    spaces = [row[n + 1 :].reshape(-1, 4) for row in rows[1:]]
    alive = np.concatenate(spaces) if spaces else np.zeros((0, 4), np.int64)
    about = {"time_ns": np.repeat(times, [len(part) for part in spaces]), "space": alive[:, 0]}
    about |= {name: alive[:, 1 + i] for i, name in enumerate(SPACE_COUNTERS)}
    tuned = [struct.unpack("<qq", record) for record in records[_TUNED]]
    return Played(
        samples=pl.DataFrame(_known(columns)),
        spaces=pl.DataFrame(
            {name: np.ascontiguousarray(column) for name, column in _known(about).items()}
        ).with_columns(pl.col("space").cast(pl.UInt32)),
        ksmd_cpu_ns=table[:, 1].tolist(),
        refused={event: error for event, error in tuned if error},
        places={int(times[batch]): _places(rest, shift) for batch, rest in _of_batches(records[_PLACED])},
        merges={int(times[batch]): rest.decode() for batch, rest in _of_batches(records[_MERGED])},
    )
