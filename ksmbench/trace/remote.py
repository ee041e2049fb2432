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
from ksmbench.trace.tables import one_line

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FILES = ("trace.json", *(f"{table}.parquet" for table in schema.TABLES))


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


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        core: Any = import_module("fsspec.core")
    except ImportError:
        raise UsageError(f'{url}: traces from URLs need fsspec; pip install "ksmbench[cluster]"') from None
    try:
        filesystem, root = core.url_to_fs(url)
    except ImportError as error:  # the package of that kind of URL
        raise UsageError(f"{url}: {one_line(error)}") from None
    except ValueError as error:
        raise UsageError(f"{url}: fsspec does not know such URLs ({one_line(error)})") from None
    return filesystem, str(root)


def open_url(url: str, max_memory: int | None) -> Trace:
    """Copy the tables of the trace at `url` here, read and validate them; the copy goes when they are read."""
    from ksmbench.trace.store import open_trace

    filesystem, root = _filesystem(url)
    scratch = Path(tempfile.mkdtemp(prefix="ksmbench-trace-"))
    folder = scratch / "trace"
    try:
        folder.mkdir()
        for name in _FILES:
            try:
                filesystem.get_file(f"{root.rstrip('/')}/{name}", str(folder / name))
            except FileNotFoundError:
                (folder / name).unlink(missing_ok=True)
            except Exception as error:  # of any kind: each storage has its own
                raise TraceError(f"{url}: {name} could not be fetched ({one_line(error)})") from None
        if not any(folder.iterdir()):
            raise TraceError(f"{url}: no such trace; a trace is a folder with trace.json in it")
        try:
            trace = open_trace(folder, max_memory=max_memory)
        except TraceError as error:
            raise TraceError(str(error).replace(str(folder), url.rstrip("/"))) from None
        return replace(trace, path=None, url=url)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
