"""The finished replays of a sweep that is not: one small file each, which appears whole, in FOLDER/unfinished.

A file is called by its replay's identity, so that whoever replays the same again finds it, also as part of a larger
grid. Beside them, `finished.jsonl` has a line per replay for people and programs that watch.
"""

import fcntl
import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.outputs import reason
from ksmbench.result import KEYS, UNFINISHED
from ksmbench.sweeping.point import Outcome, Point

LINES = "finished.jsonl"
_KEY = b"ksmbench"


class Journal:
    """The replays under `folder`/unfinished, for one process at a time; close it with `close`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / UNFINISHED
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KsmbenchError(f"{folder}: cannot be written ({reason(error)})") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UsageError(f"{folder}: another sweep is writing it; wait for it or choose another folder") from None
        except OSError:
            pass  # a file system without locks

    def close(self) -> None:
        """Let others have it; without a replay, it goes."""
        with suppress(OSError):
            if not any(self.path.glob("*.parquet")):
                self.discard()
                self.path.rmdir()
                self.path.parent.rmdir()
        os.close(self._lock)

    def discard(self) -> None:
        """Remove every replay."""
        for path in self.path.iterdir():
            path.unlink()

    def kept(self) -> set[str]:
        """The identities of the replays that are there and whole."""
        found = set()
        for path in self.path.glob("*.parquet"):
            try:
                json.loads(pq.read_schema(path).metadata[_KEY])
                found.add(path.stem)
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
                path.unlink()  # cut off, as after a power failure: it is replayed again
        return found

    def others(self, mine: Collection[str]) -> int:
        """How many replays of another sweep are there."""
        return len(self.kept() - set(mine))

    def keep(self, point: Point, outcome: Outcome) -> None:
        """Write one finished replay."""
        keys = dict(zip(KEYS, point.task.key, strict=True))
        facts = {"summary": outcome.summary, "provenance": outcome.provenance}
        columns = [pl.lit(value).alias(name) for name, value in keys.items()]
        table = outcome.samples.select(*columns, pl.all()).to_arrow()
        scratch = self.path / f".{point.identity}.new"
        try:
            pq.write_table(
                table.replace_schema_metadata({_KEY: json.dumps(facts).encode()}), scratch, compression="zstd"
            )
            os.replace(scratch, self._place(point))
            with open(self.path / LINES, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(keys | outcome.summary) + "\n")
        except OSError as error:
            raise KsmbenchError(f"{self.path}: could not be written ({reason(error)})") from None
        finally:
            with suppress(OSError):
                scratch.unlink()

    def read(self, point: Point) -> Outcome:
        """A replay that was kept."""
        try:
            table = pq.read_table(self._place(point), partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise KsmbenchError(f"{self._place(point)}: a finished replay cannot be read any more ({error})") from None
        facts = json.loads(table.schema.metadata[_KEY])
        samples = pl.DataFrame(pl.from_arrow(table)).drop(KEYS)
        return Outcome(samples, facts["summary"], facts["provenance"])

    def facts(self, point: Point) -> Outcome:
        """The same without its samples."""
        facts = json.loads(pq.read_schema(self._place(point)).metadata[_KEY])
        return Outcome(pl.DataFrame(), facts["summary"], facts["provenance"])

    def _place(self, point: Point) -> Path:
        return self.path / f"{point.identity}.parquet"
