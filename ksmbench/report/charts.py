"""The plots of a report, as Vega-Lite specifications made with Altair; colours of axes and text are the page's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from ksmbench.report.strokes import CEILING, CEILING_DASH, ORACLE, colour_scale, dash_scale, shape_scale

Chart = alt.LayerChart | alt.FacetChart | alt.Chart

HEIGHT = 280
TOLD = "told"  # layers whose names begin so are drawn in the colour of the page's text
_OVER_TIME = "Memory saved over time"
_TABLE_ROWS = 12  # of a line, in the table of a plot's data
_ZOOM_FROM = 40.0  # %: where all points are higher, the axis of the savings does not begin at 0
_LEAST_SPAN = 2.0  # % that it spans at least
_POINTS = "One point per sample, at most 400 for each line; all samples are in `samples.parquet`."


@dataclass(frozen=True)
class Plot:
    """A plot with what is said of it; `chart` is None where it would be empty."""

    title: str
    note: str  # one or two sentences above it
    meaning: str  # formula, unit, and the columns that it is made of
    chart: Chart | None
    heads: dict[str, str]  # of the table of its data: headings by column
    metrics: tuple[str, ...] = ()  # of a summary, defined at the end of the page
    wide: bool = False  # or half of the page
    has_ceiling: bool = False  # the oracle's, beside what is in the data


def lines(
    data: pl.DataFrame,
    column: str,
    title: str,
    labels: list[str],
    *,
    unit: str,
    x: str = "seconds",
    x_title: str = "trace time (s)",
    x_unit: str = "s",
    x_counts: bool = False,
) -> Chart | None:
    """Lines of `column` over `x`, one for each `label`; None where no line would have two points.

    `x_counts`: what `x` says is a whole number of something.
    """
    data = data.filter(pl.col(column).is_not_null())
    if data.group_by("label").len().filter(pl.col("len") > 1).is_empty():
        return None
    hover = alt.selection_point(fields=[x], nearest=True, on="pointerover", empty=False, clear="pointerout")
    colour = alt.Color("label:N", scale=colour_scale(labels), legend=None)
    axis = alt.Axis(grid=False, format="d", tickMinStep=1) if x_counts else alt.Axis(grid=False)
    along = alt.X(f"{x}:Q", title=x_title, axis=axis, scale=alt.Scale(nice=False))
    y = alt.Y(f"{column}:Q", title=title)
    base = alt.Chart(data.select("label", x, pl.col(column).round(3)))
    drawn = base.mark_line(strokeWidth=2, interpolate="linear", clip=True).encode(
        x=along, y=y, color=colour, strokeDash=alt.StrokeDash("label:N", scale=dash_scale(labels), legend=None)
    )
    points = (
        base.mark_point(filled=True, size=55)
        .encode(
            x=along,
            y=y,
            color=colour,
            shape=alt.Shape("label:N", scale=shape_scale(labels), legend=None),
            opacity=alt.when(hover).then(alt.value(1)).otherwise(alt.value(0)),
            tooltip=[
                alt.Tooltip("label:N", title="design"),
                alt.Tooltip(f"{x}:Q", title=x_unit, format=",.1f"),
                alt.Tooltip(f"{column}:Q", title=unit, format=",.2~f"),
            ],
        )
        .add_params(hover)
    )
    made: Chart = alt.layer(drawn, points).properties(width="container", height=HEIGHT)
    return made


def ceiling(column: str, value: float, y: alt.Y) -> alt.Chart:
    """A dashed line across the plot at what the oracle saves; `y` shows `column`."""
    rule = alt.Chart(pl.DataFrame({column: [value]}))
    made: alt.Chart = rule.mark_rule(strokeDash=list(CEILING_DASH), strokeWidth=2, color=CEILING).encode(y=y)
    return made


def marked(
    data: pl.DataFrame, x: alt.X, y: alt.Y, text: str, *, shape: str = "diamond", above: bool = True
) -> list[alt.Chart]:
    """Layers that put a ring of this shape with `text` around each of these points; none where there are no points."""
    if data.is_empty():
        return []
    base = alt.Chart(data).encode(x=x, y=y)
    ring = base.mark_point(shape=shape, size=420, strokeWidth=2).properties(name=f"{TOLD}_{shape}")
    words = base.mark_text(dy=-20 if above else 22, fontWeight="bold").encode(text=alt.value(text))
    return [ring, words.properties(name=f"{TOLD}_{shape}_text")]


def _scatter(summary: pl.DataFrame, labels: list[str]) -> Chart | None:
    data = summary.select(
        "label",
        (pl.col("scan_cost_cpu_share") * 100).round(3).alias("cpu"),
        (pl.col("oracle_share") * 100).round(2).alias("share"),
        (pl.col("saved_bytes") / 2**20).round(2).alias("saved"),
        (pl.col("settings") == "").alias("default"),
    ).filter(pl.col("cpu").is_not_null() & pl.col("share").is_not_null() & ~pl.col("label").is_in(["none", ORACLE]))
    if data.is_empty():
        return None
    least, most = float(data["share"].min() or 0), float(data["share"].max() or 0)  # type: ignore[arg-type]
    top = max(100.0, most)
    far = max(top - least, _LEAST_SPAN)
    lowest = top - 1.25 * far if top - 1.25 * far > _ZOOM_FROM or least < 0 else 0.0
    right = 1.15 * float(data["cpu"].max() or 1)  # type: ignore[arg-type]
    x = alt.X("cpu:Q", title="ksmd (% of one CPU)", scale=alt.Scale(domain=[0, right], nice=False))
    y = alt.Y("share:Q", title="share of the oracle's saving (%)", scale=alt.Scale(domain=[lowest, top + 0.15 * far]))
    points = (
        alt.Chart(data)
        .mark_point(filled=True, size=160, opacity=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color("label:N", scale=colour_scale(labels), legend=None),
            shape=alt.Shape("label:N", scale=shape_scale(labels), legend=None),
            tooltip=[
                alt.Tooltip("label:N", title="design"),
                alt.Tooltip("cpu:Q", title="% of one CPU"),
                alt.Tooltip("share:Q", title="% of the oracle"),
                alt.Tooltip("saved:Q", title="MiB saved"),
            ],
        )
    )
    defaults = data.filter("default").select("cpu", "share")
    rings = marked(defaults, x, y, "default" if defaults.height == 1 else "")  # several would lie on each other
    return alt.layer(ceiling("share", 100.0, y), points, *rings).properties(width="container", height=HEIGHT)


def spec(chart: Any) -> dict[str, Any]:
    """The Vega-Lite specification of a chart, without colours of axes and text."""
    made = dict(chart.to_dict())
    made.pop("config", None)  # the page's own, which follows its colour scheme
    return made


def _data_of(plot: Plot) -> pl.DataFrame:
    # What a plot shows, with the columns that have headings.
    found = [frame for part in (plot.chart, *getattr(plot.chart, "layer", [])) if (frame := _frame_of(part, plot))]
    return found[0][0].select(list(plot.heads)) if found else pl.DataFrame(schema=list(plot.heads))


def _rows_of(frame: pl.DataFrame, plot: Plot) -> list[list[str]]:
    # The same as a table, thinned: for those who do not see it.
    parts = frame.partition_by("label", maintain_order=True)
    rows: list[list[str]] = [[plot.heads[name] for name in frame.columns]]
    for part in parts:
        step = max(1, part.height // _TABLE_ROWS)
        rows += [[_plain(value) for value in row] for row in part[::step].rows()]
    return rows


def _frame_of(chart: Any, plot: Plot) -> list[pl.DataFrame]:
    data = getattr(chart, "data", None)
    return [data] if isinstance(data, pl.DataFrame) and set(plot.heads) <= set(data.columns) else []


def _legend_of(frame: pl.DataFrame, plot: Plot) -> list[str]:
    # The lines that the page's legend names; a plot that is no layers has its own.
    if isinstance(plot.chart, alt.Chart):
        return []
    return frame["label"].unique(maintain_order=True).to_list() + ([ORACLE] if plot.has_ceiling else [])


def _plain(value: object) -> str:
    return "–" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def _over_time(designs: pl.DataFrame, work: pl.DataFrame, labels: list[str]) -> list[Plot]:
    def heads(column: str, heading: str) -> dict[str, str]:
        return {"label": "design", "seconds": "trace time (s)", column: heading}

    return [
        Plot(
            _OVER_TIME,
            "Frames in use without merging, minus frames in use with it. The dashed line is the oracle, which merges "
            "all equal mergeable pages at once.",
            "(`frames` of `none` - `frames`) * page / 2^20 at the same time, in MiB; `frames` is a column of the "
            f"samples. {_POINTS}",
            lines(designs, "saved_mib", "saved (MiB)", labels, unit="MiB saved"),
            heads("saved_mib", "saved (MiB)"),
            ("saved_bytes", "saved_bytes_mean", "time_to_90_percent_s", "oracle_saved_bytes"),
            wide=True,
        ),
        Plot(
            "Saved, net",
            "The same less KSM's own memory, as the kernel's general_profit counts it: 64 bytes for each scanned page.",
            "((`frames` of `none` - `frames` - `pages_sharing` - `ksm_zero_pages`) * page + `general_profit`) / "
            "2^20, in MiB: that is 64 bytes off what is saved for each page that ksmd keeps an item for. "
            f"`saved_bytes_net` also takes off the nodes of the trees and the slots of the spaces. {_POINTS}",
            lines(work, "net_mib", "saved net (MiB)", labels, unit="MiB net"),
            heads("net_mib", "saved net (MiB)"),
            ("saved_bytes_net", "metadata_bytes"),
        ),
        Plot(
            "Burndown",
            "Memory that the oracle saves and the design does not, not yet or never.",
            f"(`frames` - `frames` of `oracle`) * page / 2^20 at the same time, in MiB. {_POINTS}",
            lines(work, "left_mib", "left to merge (MiB)", labels, unit="MiB left"),
            heads("left_mib", "left to merge (MiB)"),
            ("oracle_share",),
        ),
        Plot(
            "Copy-on-write breaks",
            "Merged pages that were written and had to be copied again, so far: each costs the guest a fault.",
            f"`cow_breaks`, a column of the samples, in pages: as cow_ksm of /proc/vmstat counts. {_POINTS}",
            lines(work, "cow_breaks", "breaks", labels, unit="breaks"),
            heads("cow_breaks", "breaks"),
            ("cow_breaks",),
        ),
        Plot(
            "ksmd's CPU time",
            "Share of one CPU since the point before.",
            "100 * difference of `cpu_ns` / difference of `time_ns`, between a point and the one before, in % of one "
            f"CPU; what a batch takes comes from the cost profile. {_POINTS}",
            lines(work, "cpu_percent", "% of one CPU", labels, unit="% of one CPU"),
            heads("cpu_percent", "% of one CPU"),
            ("scan_cost_cpu_share", "cpu_s"),
        ),
        Plot(
            "Pages scanned",
            "Pages that ksmd processed per second since the point before.",
            "difference of `pages_scanned` / difference of `time_ns` * 10^9, between a point and the one before, in "
            f"pages per second. {_POINTS}",
            lines(work, "scanned_per_s", "pages/s", labels, unit="pages/s"),
            heads("scanned_per_s", "pages/s"),
            ("pages_scanned", "full_scans"),
        ),
    ]


def charts(
    curves: pl.DataFrame, summary: pl.DataFrame, price: Plot | None = None, more: Sequence[Plot] = ()
) -> list[dict[str, Any]]:
    """The plots of one trace: dicts of `title`, `note`, `meaning`, `metrics`, `spec` (Vega-Lite), `data` (rows of a
    table), `half` (of the page's width) and `legend` (the lines that it names).

    `curves` are the rows of `ksmbench.report.curves.curves`, `summary` those of the comparison with a column `label`.
    What would be empty is left out; `more` plots come last. `price` is drawn first, instead of the plot of savings
    against CPU time.
    """
    alt.data_transformers.disable_max_rows()
    labels = list(dict.fromkeys(summary["label"].to_list() + [ORACLE]))
    designs = curves.filter(pl.col("label") != "none")
    first, *others = _over_time(designs, designs.filter(pl.col("label") != ORACLE), labels)
    scatter = Plot(
        "What is bought for which CPU time",
        "Up is better, left is cheaper: the saving at the end against the time that ksmd takes. A diamond marks a "
        "design with the kernel's default settings.",
        "Across: 100 * `scan_cost_cpu_share`, in % of one CPU. Up: 100 * `oracle_share`, in % of what the oracle "
        "saves at the end; the dashed line is 100 %.",
        _scatter(summary, labels),
        {"label": "design", "cpu": "ksmd (% of one CPU)", "share": "of the oracle (%)", "saved": "saved (MiB)"},
        ("scan_cost_cpu_share", "oracle_share", "saved_bytes"),
        has_ceiling=True,
    )
    made = [first, scatter, *others, *more] if price is None else [price, first, *others, *more]
    return [_card(plot) for plot in made if plot.chart is not None]


def _card(plot: Plot) -> dict[str, Any]:
    frame = _data_of(plot)
    return {
        "title": plot.title,
        "note": plot.note,
        "meaning": plot.meaning,
        "metrics": plot.metrics,
        "spec": spec(plot.chart),
        "data": _rows_of(frame, plot),
        "half": not plot.wide,
        "legend": _legend_of(frame, plot),
    }
