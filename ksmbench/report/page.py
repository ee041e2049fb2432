"""Renders a comparison as one offline HTML page and as Markdown, from the templates beside this file."""

import shlex
from typing import Any

import polars as pl

from ksmbench.metrics.summary import shown_metrics
from ksmbench.report.charts import charts
from ksmbench.report.choosing import chosen_row
from ksmbench.report.curves import LABEL, curves
from ksmbench.report.detail import charts_of, tables_of
from ksmbench.report.differences import differences
from ksmbench.report.findings import findings, headline
from ksmbench.report.offline import environment, plots
from ksmbench.report.strokes import ORACLE, strokes
from ksmbench.report.table import shown_columns, table
from ksmbench.result import Comparison

_OPTIONS = ("sample", "cost", "until", "mergeable", "host_memory")
_DEFAULTS = {"sample": 1.0, "cost": None, "until": None, "mergeable": "as-is", "host_memory": None}


def said_options(options: dict[str, Any]) -> list[str]:
    """The words of a command line for those options of a replay that are not its defaults."""
    words = []
    for name in _OPTIONS:
        if options.get(name, _DEFAULTS[name]) != _DEFAULTS[name]:
            words += [f"--{name.replace('_', '-')}", str(getattr(options[name], "name", options[name]))]
    for name, pattern in (options.get("domains") or {}).items():
        words += ["--domains", f"{name}={pattern}"]
    return [*words, "--ignore-tune"] if options["ignore_tune"] else words


def command(comparison: Comparison) -> str:
    """The command line that makes the comparison again."""
    parts = ["ksmbench", "compare", *comparison.paths.values()]
    for design in comparison.designs:
        parts += ["--design", design]
    return shlex.join([*parts, *said_options(comparison.options), "-o", str(comparison.output or "FOLDER")])


def end_of(frame: pl.DataFrame, design: str) -> dict[str, Any]:
    """The last sample of a design."""
    return frame.filter(design=design).row(-1, named=True)


def _section(comparison: Comparison, trace: str, lines: pl.DataFrame) -> dict[str, Any]:
    summary = comparison.summary.with_columns(LABEL).filter(trace=trace)
    rows = summary.to_dicts()
    bounds = comparison.bounds.filter(trace=trace)
    page_size = comparison.page_size[trace]
    floor, oracle = end_of(bounds, "none"), end_of(bounds, "oracle")
    seconds = comparison.samples.filter(trace=trace)["time_ns"].max()
    chosen = chosen_row(rows)
    labels = list(dict.fromkeys([*summary["label"], ORACLE]))
    return {
        "trace": trace,
        "notes": comparison.notes[trace],
        "seconds": float(seconds or 0) / 1e9,  # type: ignore[arg-type]
        "findings": findings(rows, floor["frames"] * page_size, (floor["frames"] - oracle["frames"]) * page_size),
        "order": None,
        "rest": None,
        "columns": shown_columns(rows),
        "rows": table(rows),
        "strokes": strokes(labels),
        "charts": charts(lines.filter(trace=trace), summary, more=charts_of(comparison, trace, labels)),
        "headline": headline(chosen),
        "differences": differences(rows),
        "tables": tables_of(comparison, trace, chosen["label"] if chosen else None),
    }


def flat(value: object) -> str:
    """A fact of provenance as text."""
    if value is None or value == {} or value == []:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{key} {flat(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(flat(item) for item in value)
    return str(value)


def _provenance(comparison: Comparison) -> list[dict[str, Any]]:
    # What differs from replay to replay, and once what does not.
    keys = list(dict.fromkeys(key for one in comparison.provenance for key in one))
    columns = {key: [flat(one.get(key)) for one in comparison.provenance] for key in keys}
    if "created" in columns:
        columns["created"] = [max(columns["created"])]  # the replays of one comparison end seconds apart
    name = [LABEL] if len(comparison.page_size) == 1 else ["trace", LABEL]
    labels = comparison.summary.select(pl.concat_str(name, separator=": ").alias("of"))["of"].to_list()
    told = []
    for key, values in columns.items():
        if len(set(values)) == 1:
            told.append({"name": key, "values": [{"of": "", "is": values[0]}]})
        else:
            told.append({"name": key, "values": [{"of": of, "is": it} for of, it in zip(labels, values, strict=True)]})
    return told


def render_page(sections: list[dict[str, Any]], **facts: Any) -> dict[str, str]:
    """The texts of `report.html` and `report.md` by file name.

    Each of `sections` is about one trace; `facts` are metrics, provenance, command and designs, as in the templates.
    """
    templates = environment()
    facts["sections"] = sections
    specs = [chart["spec"] for section in sections for chart in section["charts"]]
    html = templates.get_template("report.html.j2").render(**facts, **plots(specs))
    return {"report.html": html, "report.md": templates.get_template("report.md.j2").render(**facts)}


def render(comparison: Comparison) -> dict[str, str]:
    """The texts of a comparison's `report.html` and `report.md` by file name."""
    lines = curves(comparison)
    return render_page(
        [_section(comparison, trace, lines) for trace in comparison.page_size],
        metrics=shown_metrics(comparison.summary.to_dicts()),
        provenance=_provenance(comparison),
        command=command(comparison),
        designs=comparison.designs,
    )
