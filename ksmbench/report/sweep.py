"""A sweep as a folder: its page shows the front of saved memory against CPU, with the kernel's default marked."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.metrics.front import front
from ksmbench.metrics.summary import shown_metrics
from ksmbench.policies import FIXED
from ksmbench.report.charts import HEIGHT, Plot, ceiling, charts, marked
from ksmbench.report.choosing import chosen_row
from ksmbench.report.curves import LABEL, curves
from ksmbench.report.detail import charts_of, tables_of
from ksmbench.report.findings import against_default, findings, headline
from ksmbench.report.page import end_of, flat, render_page, said_options
from ksmbench.report.strokes import CEILING, ORACLE, colour_scale, shape_scale, strokes
from ksmbench.report.table import shown_columns, table
from ksmbench.result import UNFINISHED, Comparison, Sweep
from ksmbench.specs import POLICY
from ksmbench.trace.publish import publish, scratch_folder

FILES = ("report.html", "report.md", "samples.parquet", "summary.parquet")
_DECADE = 10
MAX_LINES = 8  # of a front, drawn over time
_FEW = 12  # combinations: of more, those without a mark are folded
_RULE = "Sorted by CPU time per GiB saved. named first: by the rule above. "
_GOAL = "Sorted by CPU time per GiB saved. chosen, or nearest: by the goal above. "
_ORDER = (
    "front: nothing else here saves as much for less CPU time, or more for as much. default: the kernel's own settings."
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Advice:
    """What a search adds to the page of its sweep, and to its folder."""

    sentences: list[str]
    label: str  # of the combination that it is about
    mark: str  # of that row of the table
    command: str  # that makes it again
    files: dict[str, str] = field(default_factory=dict)  # texts by name


def check_sweep_output(path: str | os.PathLike[str], *, force: bool, more: Sequence[str] = ()) -> Path:
    """The folder that a sweep may write; raises `UsageError` where something else is in its place."""
    folder = Path(path)
    if not folder.exists():
        return folder
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else None
    if there is None or not there <= {*FILES, *more, UNFINISHED}:
        raise UsageError(f"{folder} exists and is no sweep; choose another name")
    if there & {*FILES, *more} and not force:
        raise UsageError(f"{folder} exists already; choose another name or pass --force")
    return folder


def command(sweep: Sweep) -> str:
    """The command line that makes the sweep again."""
    parts = ["ksmbench", "sweep", *sweep.paths.values()]
    for design in sweep.designs:
        parts += ["--design", design]
    for name, values in sweep.vary.items():
        words = [",".join(value) if isinstance(value, list | tuple) else str(value) for value in values]
        parts += ["--vary", f"{name}={('|' if any(',' in word for word in words) else ',').join(words)}"]
    return shlex.join([*parts, *said_options(sweep.options), "-o", str(sweep.output or "FOLDER")])


def _thin(rows: list[Row]) -> list[Row]:
    # A few of the front with both ends.
    if len(rows) <= MAX_LINES:
        return rows
    step = (len(rows) - 1) / (MAX_LINES - 1)
    return [rows[round(i * step)] for i in range(MAX_LINES)]


def ranked(sweep: Sweep, trace: str) -> list[Row]:
    """The rows of a trace with `label`, by CPU time per GiB saved; the designs' defaults are among them.

    `is_default` and `on_front` mark them; a default that is no combination of the sweep counts for the front too.
    """
    rows = sweep.summary.with_columns(LABEL).filter(trace=trace).to_dicts()
    for default in sweep.defaults.with_columns(LABEL).filter(trace=trace).to_dicts():
        same = [row for row in rows if row["design"] == default["design"] and _is_default(row, default, sweep)]
        for row in same:
            row["is_default"] = True
        if not same:
            rows.append(default | {"is_default": True})
    on_front = front([(row["saved_bytes"], row["scan_cost_cpu_share"]) for row in rows])
    rows = [row | {"on_front": is_on} for row, is_on in zip(rows, on_front, strict=True)]
    return sorted(rows, key=lambda row: (row["cpu_s_per_gib_saved"] is None, row["cpu_s_per_gib_saved"] or 0.0))


def _is_default(row: Row, default: Row, sweep: Sweep) -> bool:
    from ksmbench import designs

    known = {setting.name: setting.default for setting in designs.find(row["design"]).settings}
    known |= {POLICY: FIXED}
    fixed = dict(part.split("=", 1) for part in row["settings"].split(",") if "=" in part)
    named = {name: str(row.get(name, fixed.get(name))) for name in {*fixed, *sweep.vary}}
    return all(str(known[name]) == value for name, value in named.items()) and default["design"] == row["design"]


def _front_plot(rows: list[Row], shown: list[str], oracle_mib: float, named: tuple[str, str]) -> Plot:
    return Plot(
        "What is bought for which CPU time",
        "Up is better, left is cheaper: the saving at the end against the time that ksmd takes, a point for each "
        "combination. The steps are the front: nothing else here saves as much for less CPU time, or more for as "
        "much. The diamond marks the kernel's default, the square what is named first.",
        "Across: 100 * `scan_cost_cpu_share`, in % of one CPU, on a logarithmic scale where it spans more than a "
        "factor of ten. Up: `saved_bytes` / 2^20, in MiB; the dashed line is the oracle's. The front: `on_front` in "
        "summary.parquet, there without a default that is no combination of the sweep.",
        _front_chart(rows, shown, oracle_mib, named),
        {"label": "design", "cpu": "ksmd (% of one CPU)", "saved": "saved (MiB)", "front": "on the front"},
        ("saved_bytes", "scan_cost_cpu_share"),
        wide=True,
        has_ceiling=True,
    )


def _front_chart(rows: list[Row], shown: list[str], oracle_mib: float, first: tuple[str, str]) -> alt.LayerChart | None:
    # `first` is the label of what is named first, and what it is called.
    data = pl.DataFrame(
        [
            {
                "label": row["label"],
                "cpu": round(100 * row["scan_cost_cpu_share"], 4),
                "saved": round(row["saved_bytes"] / 2**20, 3),
                "front": "yes" if row["on_front"] else "no",
                "default": bool(row.get("is_default")),
            }
            for row in rows
            if row["scan_cost_cpu_share"] is not None and row["saved_bytes"] is not None
        ]
    )
    if data.is_empty():
        return None
    low, high = float(data["cpu"].min() or 0), float(data["cpu"].max() or 0)  # type: ignore[arg-type]
    wide = low > 0 and high > _DECADE * low  # else what is cheap lies in one heap
    scale = alt.Scale(type="log", nice=False, domain=[low / 1.2, high * 1.2]) if wide else alt.Scale(zero=True)
    x = alt.X("cpu:Q", title="ksmd (% of one CPU)", axis=alt.Axis(grid=False, format="~g"), scale=scale)
    y = alt.Y("saved:Q", title="saved at the end (MiB)", scale=alt.Scale(zero=False, padding=16))
    tooltip = [
        alt.Tooltip("label:N", title="design"),
        alt.Tooltip("cpu:Q", title="% of one CPU", format=",.3~f"),
        alt.Tooltip("saved:Q", title="MiB saved", format=",.1f"),
    ]
    layers = [
        ceiling("saved", round(oracle_mib, 3), y),
        alt.Chart(data).mark_point(filled=True, size=40, opacity=0.6, color=CEILING).encode(x=x, y=y, tooltip=tooltip),
    ]
    steps = data.filter(pl.col("front") == "yes").select("cpu", "saved")
    if not steps.is_empty():
        line = alt.Chart(steps).mark_line(interpolate="step-after", strokeWidth=2, color=CEILING)
        layers.append(line.encode(x=x, y=y, order="cpu:Q"))
    drawn = data.filter(pl.col("label").is_in(shown)).select("label", "cpu", "saved")
    if not drawn.is_empty():
        points = alt.Chart(drawn).mark_point(filled=True, size=130, opacity=1)
        colour = alt.Color("label:N", scale=colour_scale(shown), legend=None)
        shape = alt.Shape("label:N", scale=shape_scale(shown), legend=None)
        layers.append(points.encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip))
    is_first = pl.col("label") == first[0]
    named = data.filter(is_first)
    called = f"{first[1]}, default" if named["default"].any() else first[1]
    layers += marked(named.select("cpu", "saved"), x, y, called, shape="square", above=False)
    defaults = data.filter("default", ~is_first).select("cpu", "saved")
    layers += marked(defaults, x, y, "default" if defaults.height == 1 else "")
    return alt.LayerChart(layer=layers).properties(width="container", height=HEIGHT)


def _compared(sweep: Sweep, labels: list[str]) -> Comparison:
    # The combinations of these labels, and the defaults, as a comparison: what its plots and tables are made from.
    samples = pl.concat([sweep.samples, sweep.default_samples], how="diagonal").with_columns(LABEL)
    few = samples.filter(pl.col("label").is_in(labels)).unique(
        ["trace", "label", "time_ns"], keep="first", maintain_order=True
    )
    return Comparison(
        samples=few.drop("label"),
        summary=sweep.summary,
        bounds=sweep.bounds,
        page_size=sweep.page_size,
        paths=sweep.paths,
        notes=sweep.notes,
        designs=labels,
        options=sweep.options,
        provenance=[],
        sharing=sweep.sharing,
    )


def _refusals(sweep: Sweep, trace: str) -> list[str]:
    refused = sweep.refused.filter(trace=trace)
    if refused.is_empty():
        return []
    how_many = f"{refused.height:,} combinations were" if refused.height > 1 else "1 combination was"
    return [f"{how_many} left out, as they cannot be; the first: {refused['why'][0]}."]


def named_row(rows: list[Row], advice: Advice | None) -> Row | None:
    """Of the rows of a trace the one that its page names first: what `advice` is about, else by the rule of reports."""
    if advice is None:
        return chosen_row(rows)
    return next((row for row in rows if row["label"] == advice.label), None)


def looked_at(sweep: Sweep, advice: Advice | None = None) -> list[tuple[str, str, str]]:
    """The KEYS of the few replays whose last states the page shows: of each trace what is named first, and defaults."""
    keys = []
    for trace in sweep.page_size:
        rows = ranked(sweep, trace)
        named = named_row(rows, advice)
        few = [*([named] if named else []), *(row for row in rows if row.get("is_default"))]
        keys += [(trace, str(row["design"]), str(row["settings"])) for row in few]
    return list(dict.fromkeys(keys))


def _called(advice: Advice | None) -> str:
    # What the row is that is named first.
    return advice.mark if advice else "named first"


def _marks(row: Row, named: Row | None, advice: Advice | None) -> str:
    mark = _called(advice) if row is named else ""
    return ", ".join(
        filter(None, (mark, "front" if row["on_front"] else "", "default" if row.get("is_default") else ""))
    )


def _section(sweep: Sweep, trace: str, advice: Advice | None) -> dict[str, Any]:
    rows = ranked(sweep, trace)
    on_front = sorted((row for row in rows if row["on_front"]), key=lambda row: float(row["scan_cost_cpu_share"]))
    defaults = [row for row in rows if row.get("is_default")]
    named = named_row(rows, advice)
    told = list({row["label"]: row for row in [*([named] if named else []), *defaults, *_thin(on_front)]}.values())
    labels = [row["label"] for row in told]
    bounds = sweep.bounds.filter(trace=trace)
    page_size = sweep.page_size[trace]
    floor = end_of(bounds, "none")["frames"] * page_size
    possible = floor - end_of(bounds, ORACLE)["frames"] * page_size
    cells = table(rows)
    for cell, row in zip(cells, rows, strict=True):
        cell["mark"] = _marks(row, named, advice)
    count = f"{len(on_front):,} of {len(rows):,} combinations are on the front of saved memory against CPU time."
    compared = _compared(sweep, labels)
    return {
        "trace": trace,
        "notes": sweep.notes[trace],
        "seconds": float(bounds["time_ns"].max() or 0) / 1e9,  # type: ignore[arg-type]
        "headline": headline(named),
        "findings": [
            *(advice.sentences if advice else []),
            *findings(rows, floor, possible, named if advice else None),
            *against_default(rows),
            count,
            *_refusals(sweep, trace),
        ],
        "differences": None,
        "order": (_GOAL if advice else _RULE) + _ORDER,
        "rest": f"All {len(rows):,} combinations" if len(rows) > _FEW else None,
        "columns": shown_columns(rows),
        "rows": cells,
        "strokes": strokes([*labels, ORACLE]),
        "charts": charts(
            curves(compared).filter(trace=trace),
            pl.DataFrame(told, infer_schema_length=None),
            _front_plot(rows, labels, possible / 2**20, (named["label"] if named else "", _called(advice))),
            charts_of(compared, trace, labels),
        ),
        "tables": tables_of(compared, trace, named["label"] if named else None),
    }


def _provenance(sweep: Sweep) -> list[dict[str, Any]]:
    told = []
    for key in dict.fromkeys(key for one in sweep.provenance.values() for key in one):
        values = {label: flat(one.get(key)) for label, one in sweep.provenance.items()}
        same = len(set(values.values())) == 1
        named = [("", next(iter(values.values())))] if same else list(values.items())
        told.append({"name": key, "values": [{"of": of, "is": it} for of, it in named]})
    return told


def render(sweep: Sweep, advice: Advice | None = None) -> dict[str, str]:
    """The texts of `report.html` and `report.md` by file name."""
    return render_page(
        [_section(sweep, trace, advice) for trace in sweep.page_size],
        metrics=shown_metrics(sweep.summary.to_dicts()),
        provenance=_provenance(sweep),
        command=advice.command if advice else command(sweep),
        designs=sweep.summary.select(LABEL)["label"].unique().to_list(),
    )


def write_sweep(sweep: Sweep, folder: Path, advice: Advice | None = None) -> None:
    """Write `sweep` as `folder`, with what `advice` adds, in place of its unfinished replays.

    Raises `KsmbenchError` where it cannot.
    """
    try:
        with scratch_folder(folder.absolute()) as scratch:
            for name, text in (render(sweep, advice) | (advice.files if advice else {})).items():
                (scratch / name).write_text(text, encoding="utf-8")
            sweep.samples.write_parquet(scratch / "samples.parquet")
            sweep.summary.write_parquet(scratch / "summary.parquet")
            publish(scratch, folder)
    except OSError as error:
        raise KsmbenchError(f"{folder}: the report could not be written ({error.strerror or error})") from None
