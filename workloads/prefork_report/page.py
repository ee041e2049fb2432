"""The report as files: one page that needs no network, Markdown, tables of all numbers, and the provenance apart."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import FileSystemLoader

from ksmbench.errors import UsageError
from ksmbench.provenance import trace_identity, versions
from ksmbench.report import charts
from ksmbench.report.offline import environment, plots
from ksmbench.report.strokes import strokes
from ksmbench.trace.publish import publish, scratch_folder
from workloads.prefork_report import COMMAND
from workloads.prefork_report.replays import Replays
from workloads.review_2009.report.telling import Answer, Figure

FILES = ("report.html", "report.md", "figures.parquet", "runs.parquet", "provenance.json")
_TEMPLATES = Path(__file__).with_name("templates")


def check_output(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds anything but this report."""
    if folder.exists() and not (force and folder.is_dir() and {one.name for one in folder.iterdir()} <= set(FILES)):
        raise UsageError(f"{folder} exists already; choose another name, or pass --force if it is such a report")


def _labels(figure: Figure) -> list[str]:
    return figure.data["label"].unique(maintain_order=True).to_list()


def _spec(figure: Figure) -> dict[str, Any]:
    shape = {"x": "x", "x_title": figure.x_title, "x_unit": figure.x_title}
    made = charts.lines(figure.data, "value", figure.unit, _labels(figure), unit=figure.unit, **shape)
    if made is None:
        raise ValueError(f"{figure.name}: no line to draw")
    return charts.spec(made)


def runs_table(replays: Replays) -> pl.DataFrame:
    """One row for each replay."""
    return pl.DataFrame([one.numbers() for one in replays.made], infer_schema_length=None, strict=False)


def _figures(answers: Sequence[Answer]) -> pl.DataFrame:
    name, unit = pl.lit, pl.lit
    parts = [
        figure.data.select(name(figure.name).alias("figure"), "label", "x", "value", unit(figure.unit).alias("unit"))
        for answer in answers
        for figure in answer.figures
    ]
    return pl.concat(parts)


def _provenance(replays: Replays) -> dict[str, Any]:
    return {
        "command": COMMAND,
        **versions("altair", "vl-convert-python"),
        "cost": replays.made[0].result.provenance["cost"],
        "replays": len(replays.made),
        "traces": {name: trace_identity(trace) for name, trace in sorted(replays.traces.items())},
    }


def render(replays: Replays, answers: Sequence[Answer]) -> dict[str, str]:
    """The texts of `report.html` and `report.md`."""
    figures = [figure for answer in answers for figure in answer.figures]
    drawn = {figure.name: {label: strokes(_labels(figure))[label] for label in _labels(figure)} for figure in figures}
    facts = {
        "answers": answers,
        "number": {figure.name: i for i, figure in enumerate(figures)},
        "strokes": drawn,
        "command": COMMAND,
        "made": replays.made,
        "cost": replays.made[0].result.provenance["cost"],
    }
    templates = environment(FileSystemLoader(_TEMPLATES))
    html = templates.get_template("prefork.html.j2").render(**facts, **plots([_spec(one) for one in figures]))
    return {"report.html": html, "report.md": templates.get_template("prefork.md.j2").render(**facts)}


def write(replays: Replays, answers: Sequence[Answer], folder: Path) -> None:
    """Write the report as `folder`, in place of an older one there."""
    with scratch_folder(folder.absolute()) as scratch:
        for name, text in render(replays, answers).items():
            (scratch / name).write_text(text, encoding="utf-8")
        _figures(answers).write_parquet(scratch / "figures.parquet")
        runs_table(replays).write_parquet(scratch / "runs.parquet")
        text = json.dumps(_provenance(replays), indent=2, ensure_ascii=False)
        (scratch / "provenance.json").write_text(text + "\n", encoding="utf-8")
        publish(scratch, folder.absolute())
