"""A comparison as a folder: `report.html`, `report.md`, `samples.parquet`; written whole or not at all."""

import os
from pathlib import Path

from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.result import Comparison
from ksmbench.trace.publish import publish, scratch_folder

FILES = ("report.html", "report.md", "samples.parquet")


def check_output(path: str | os.PathLike[str], *, force: bool) -> Path:
    """The folder that a report may appear as; raises `UsageError` where something else is in its place."""
    folder = Path(path)
    if folder.exists() and not force:
        raise UsageError(f"{folder} exists already; choose another name or pass --force")
    if folder.exists() and not (folder.is_dir() and {entry.name for entry in folder.iterdir()} <= set(FILES)):
        raise UsageError(f"{folder} exists and is not a report; choose another name")
    return folder


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write `comparison` as `folder`, in place of an older report there; raises `KsmbenchError` where it cannot."""
    from ksmbench.report.page import render

    try:
        with scratch_folder(folder.absolute()) as scratch:
            for name, text in render(comparison).items():
                (scratch / name).write_text(text, encoding="utf-8")
            comparison.samples.write_parquet(scratch / "samples.parquet")
            publish(scratch, folder)
    except OSError as error:
        raise KsmbenchError(f"{folder}: the report could not be written ({error.strerror or error})") from None
