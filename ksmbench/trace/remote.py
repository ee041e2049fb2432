"""Traces that are not in a folder of this machine: s3://, gs://, memory:// and what else fsspec opens; file:// too."""

import re
import shutil
import tempfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ksmbench.errors import TraceError, UsageError
from ksmbench.trace import schema
from ksmbench.trace.columns import Trace
from ksmbench.trace.tables import memory_limit, one_line

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
MANIFEST = "trace.json"
_FILES = (MANIFEST, *(f"{table}.parquet" for table in schema.TABLES))
_PIECE = 1 << 20  # bytes that are fetched at once


def is_url(path: object) -> bool:
    """Whether `path` is a text that names a trace by its URL."""
    return isinstance(path, str) and _URL.match(path) is not None


def name_of(url: str) -> str:
    """What the trace is called: the last part of its URL."""
    return url.rstrip("/").rpartition("/")[2] or url


def local_path(url: str) -> Path | None:
    """The folder that a file:// URL names; None for others."""
    parts = urlsplit(url)
    if parts.scheme.lower() != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{url}: a file:// URL names a folder of this machine, as file:///traces/mine")
    return Path(unquote(parts.path))


def _package(url: str) -> str | None:
    # What fsspec needs for such URLs, by the name that pip knows; None where it is nothing that can be installed.
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return "aiohttp"
    known: Any = import_module("fsspec.registry").known_implementations
    package: str = known.get(scheme, {}).get("class", "").partition(".")[0]
    return package if package not in ("", "fsspec") else None


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        core: Any = import_module("fsspec.core")
    except ImportError:
        raise UsageError(f'{url}: traces from URLs need fsspec; pip install "ksmbench[cluster]"') from None
    try:
        filesystem, root = core.url_to_fs(url)
    except ImportError as error:  # the package of that kind of URL
        package = _package(url)
        said = f"such URLs need {package}; pip install {package}" if package else one_line(error)
        raise UsageError(f"{url}: {said}") from None
    except ValueError as error:
        raise UsageError(f"{url}: fsspec does not know such URLs ({one_line(error)})") from None
    except Exception as error:  # of any kind: some ask a server or for a password before anything is read
        raise TraceError(f"{url}: its storage could not be opened ({one_line(error)})") from None
    return filesystem, str(root)


def _copy(filesystem: Any, source: str, target: Path, limit: int) -> int | None:
    # Bytes copied, at most one more than `limit`, whatever the other side says of the file's size; None where it is
    # not there.
    copied = 0
    try:
        with filesystem.open(source, "rb") as remote, target.open("wb") as local:
            while copied <= limit and (piece := remote.read(min(_PIECE, limit + 1 - copied))):
                copied += local.write(piece)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return None
    return copied


def _fetch(url: str, folder: Path, limit: int) -> None:
    # The trace's files as `folder`, of at most `limit` bytes together.
    filesystem, root = _filesystem(url)
    left = limit
    for name in _FILES:
        try:
            copied = _copy(filesystem, f"{root.rstrip('/')}/{name}", folder / name, left)
        except Exception as error:  # of any kind: each storage has its own
            raise TraceError(f"{url}: {name} could not be fetched ({one_line(error)})") from None
        if copied is None and name == MANIFEST:
            raise TraceError(f"{url}: no such trace; a trace is a folder with {MANIFEST} in it")
        left -= copied or 0
        if left < 0:
            raise TraceError(
                f"{url}: its files have more than the {limit / 2**20:,.0f} MiB that a trace may take; allow more, or "
                "copy it here and name the folder"
            )


def open_url(url: str, max_memory: int | None) -> Trace:
    """Copy the tables of the trace at `url` here, read and validate them; the copy goes when they are read.

    The copy is in a folder that only its user can read, and ends where it has more than `max_memory` bytes (default:
    half of this machine's memory): a trace takes less on disk than in memory.
    """
    from ksmbench.trace.store import open_trace

    scratch = Path(tempfile.mkdtemp(prefix="ksmbench-trace-"))
    folder = scratch / "trace"
    try:
        folder.mkdir()
        _fetch(url, folder, memory_limit() if max_memory is None else max_memory)
        try:
            trace = open_trace(folder, max_memory=max_memory)
        except TraceError as error:
            raise TraceError(str(error).replace(str(folder), url.rstrip("/"))) from None
        return replace(trace, path=None, url=url)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
