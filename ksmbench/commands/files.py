"""Result files: whole or not at all, and nothing overwritten without being told to."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.outputs import reason, refuse_closed

if TYPE_CHECKING:
    import polars as pl


def refuse_existing(paths: Iterable[Path | None], force: bool) -> None:
    """Raise `UsageError`, before any work, for a file in the way or named twice, or a missing or closed folder."""
    seen = set()
    for path in paths:
        if path is None:
            continue
        if path.resolve() in seen:
            raise UsageError(f"{path} is named for two outputs; name two files")
        seen.add(path.resolve())
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name a file")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no ordinary file; name one")  # renaming onto a device would replace it
        if path.exists() and not force:
            raise UsageError(f"{path} exists already; choose another name or pass --force")
        if not path.resolve().parent.is_dir():
            raise UsageError(f"{path}: its folder does not exist; make it first")
        refuse_closed(path)


@contextmanager
def _whole(path: Path, force: bool) -> Iterator[Path]:
    # A file beside `path` that takes its place in the end.
    refuse_existing((path,), force)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield scratch
        os.replace(scratch, path)
    except OSError as error:
        raise KsmbenchError(f"{path}: could not be written ({reason(error)})") from None
    finally:
        with suppress(OSError):
            scratch.unlink()


def write_parquet(frame: "pl.DataFrame", path: Path, metadata: dict[str, Any], force: bool) -> None:
    """Write `frame` with `metadata` as JSON under the key `ksmbench` of the file's schema.

    Raises `KsmbenchError` where it cannot be written.
    """
    import pyarrow.parquet as pq

    table = frame.to_arrow()
    table = table.replace_schema_metadata({b"ksmbench": json.dumps(metadata).encode()})
    with _whole(path, force) as scratch:
        pq.write_table(table, scratch, compression="zstd")


def write_text(text: str, path: Path, force: bool) -> None:
    """Write `text` to `path`, whole or not at all; raises `KsmbenchError` where it cannot be written."""
    with _whole(path, force) as scratch:
        scratch.write_text(text, encoding="utf-8")
