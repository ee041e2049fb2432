"""The report as files: one page that needs no network, Markdown, tables of all numbers, and the provenance apart."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import FileSystemLoader

from ksmbench import designs
from ksmbench.errors import UsageError
from ksmbench.metrics.summary import METRICS
from ksmbench.provenance import versions
from ksmbench.report import charts
from ksmbench.report.offline import environment, plots
from ksmbench.report.strokes import Stroke, strokes
from ksmbench.trace.publish import publish, scratch_folder
from workloads.review_2009.report.runs import Runs, label_of
from workloads.review_2009.report.telling import DEVICE, MERGED, RFC, ROLLUP, Answer, Figure

COMMAND = "make review"
FILES = ("report.html", "report.md", "figures.parquet", "runs.csv", "provenance.json")
_UNITS = re.compile(r"(\d) (%|(?:s|MiB)\b)")
_TEMPLATES = Path(__file__).with_name("templates")


def check_output(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds anything but this report."""
    if folder.exists() and not (force and folder.is_dir() and {one.name for one in folder.iterdir()} <= set(FILES)):
        raise UsageError(f"{folder} exists already; choose another name, or pass --force if it is such a report")


def _spec(figure: Figure) -> dict[str, Any]:
    labels = figure.data["label"].unique(maintain_order=True).to_list()
    made = charts.lines(
        figure.data,
        "value",
        figure.unit,
        labels,
        unit=figure.unit,
        x="x",
        x_title=figure.x_title,
        x_unit=figure.x_title,
    )
    if made is None:
        raise ValueError(f"{figure.name}: no line to draw")
    return charts.spec(made)


def _strokes(figure: Figure) -> dict[str, Stroke]:
    labels = figure.data["label"].unique(maintain_order=True).to_list()
    chosen = strokes(labels)
    return {label: chosen[label] for label in labels}


def _sizes(runs: Runs) -> list[dict[str, Any]]:
    # What was replayed.
    told = []
    for name, trace in sorted(runs.traces.items()):
        seconds = (int(trace.events.time_ns[-1]) - int(trace.events.time_ns[0])) / 1e9
        notes = str(trace.manifest.get("notes") or "")
        told.append(
            {
                "name": name,
                "label": label_of(trace),
                "notes": notes,
                "spaces": len(trace.spaces),
                "events": len(trace.events.kind),
                "contents": len(trace.contents.lcp) - 1,
                "seconds": seconds,
            }
        )
    return told


def _summaries(runs: Runs) -> pl.DataFrame:
    # One row for each replay.
    rows = [
        {"trace": run.trace, "design": run.label, "sample": str(run.result.options["sample"])} | run.result.summary
        for run in runs.made
    ]
    return pl.DataFrame(rows, infer_schema_length=None, strict=False)


def _figures(answers: Sequence[Answer]) -> pl.DataFrame:
    parts = [
        figure.data.select(
            pl.lit(figure.name).alias("figure"), "label", "x", "value", pl.lit(figure.unit).alias("unit")
        )
        for answer in answers
        for figure in answer.figures
    ]
    return pl.concat(parts)


def _provenance(runs: Runs) -> dict[str, Any]:
    return {
        "command": COMMAND,
        **versions("altair", "vl-convert-python"),
        "cost": runs.made[0].result.provenance["cost"],
        "replays": len(runs.made),
        "traces": runs.identities(),
    }


def _facts(runs: Runs, answers: Sequence[Answer]) -> dict[str, Any]:
    figures = [figure for answer in answers for figure in answer.figures]
    return {
        "answers": answers,
        "number": {figure.name: i for i, figure in enumerate(figures)},
        "strokes": {figure.name: _strokes(figure) for figure in figures},
        "traces": _sizes(runs),
        "settings": runs.parameters.settings,
        "designs": [designs.find(name) for name in (DEVICE, RFC, ROLLUP, MERGED)],
        "metrics": [metric for metric in METRICS if metric.group == "tracking"],
        "command": COMMAND,
        "replays": len(runs.made),
        "specs_of": [_spec(figure) for figure in figures],
    }


def render(runs: Runs, answers: Sequence[Answer]) -> dict[str, str]:
    """The texts of `report.html` and `report.md`."""
    facts = _facts(runs, answers)
    templates = environment(FileSystemLoader(_TEMPLATES))
    code = templates.filters["code"]
    # A number and its unit stay on one line.
    templates.filters["told"] = lambda text: code(_UNITS.sub("\\1\N{NO-BREAK SPACE}\\2", text))
    html = templates.get_template("review.html.j2").render(**facts, **plots(facts["specs_of"]))
    return {"report.html": html, "report.md": templates.get_template("review.md.j2").render(**facts)}


def write(runs: Runs, answers: Sequence[Answer], folder: Path) -> None:
    """Write the report as `folder`, in place of an older one there."""
    with scratch_folder(folder.absolute()) as scratch:
        for name, text in render(runs, answers).items():
            (scratch / name).write_text(text, encoding="utf-8")
        _figures(answers).write_parquet(scratch / "figures.parquet")
        _summaries(runs).write_csv(scratch / "runs.csv")
        text = json.dumps(_provenance(runs), indent=2, ensure_ascii=False)
        (scratch / "provenance.json").write_text(text + "\n", encoding="utf-8")
        publish(scratch, folder.absolute())
