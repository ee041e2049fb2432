"""The plots of a report, as Vega-Lite specifications made with Altair; colours of axes and text are the page's."""

from typing import Any

import altair as alt
import polars as pl

# Told apart by most eyes, and legible on white and on near-black.
PALETTE = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#a855f7", "#06b6d4", "#ec4899", "#84cc16", "#b45309", "#64748b")
CEILING = "#8a8f98"
HEIGHT = 280
ORACLE = "oracle"
_OVER_TIME = "Memory saved over time"
_TABLE_ROWS = 12  # of a line, in the table of a plot's data


def colours(labels: list[str]) -> dict[str, str]:
    """The colour of each line; `none` has none."""
    shown = [label for label in labels if label not in (ORACLE, "none")]
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(shown)} | {ORACLE: CEILING}


def colour_scale(labels: list[str]) -> alt.Scale:
    """The colours of `colours` for a plot."""
    chosen = colours(labels)
    return alt.Scale(domain=list(chosen), range=list(chosen.values()))


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
) -> alt.LayerChart | alt.FacetChart | None:
    """Lines of `column` over `x`, one for each `label`; None where no line would have two points."""
    data = data.filter(pl.col(column).is_not_null())
    if data.group_by("label").len().filter(pl.col("len") > 1).is_empty():
        return None
    hover = alt.selection_point(fields=[x], nearest=True, on="pointerover", empty=False, clear="pointerout")
    colour = alt.Color("label:N", scale=colour_scale(labels), legend=None)
    along = alt.X(f"{x}:Q", title=x_title, axis=alt.Axis(grid=False), scale=alt.Scale(nice=False))
    y = alt.Y(f"{column}:Q", title=title)
    base = alt.Chart(data.select("label", x, pl.col(column).round(3)))
    is_oracle = alt.datum.label == ORACLE
    drawn = base.mark_line(strokeWidth=2, interpolate="linear", clip=True).encode(
        x=along,
        y=y,
        color=colour,
        strokeDash=alt.when(is_oracle).then(alt.value([6, 4])).otherwise(alt.value([1, 0])),
    )
    tooltip = [
        alt.Tooltip("label:N", title="design"),
        alt.Tooltip(f"{x}:Q", title=x_unit, format=",.1f"),
        alt.Tooltip(f"{column}:Q", title=unit, format=",.2~f"),
    ]
    points = (
        base.mark_point(filled=True, size=50, opacity=1)
        .encode(x=along, y=y, color=colour, tooltip=tooltip)
        .transform_filter(hover)
    )
    catch = base.mark_point(opacity=0, size=60).encode(x=along, y=y, tooltip=tooltip).add_params(hover)
    return alt.layer(drawn, points, catch).properties(width="container", height=HEIGHT)


def _scatter(summary: pl.DataFrame, labels: list[str]) -> alt.LayerChart | alt.FacetChart | None:
    data = summary.select(
        "label",
        (pl.col("scan_cost_cpu_share") * 100).round(3).alias("cpu"),
        (pl.col("oracle_share") * 100).round(2).alias("share"),
        (pl.col("saved_bytes") / 2**20).round(2).alias("saved"),
        (pl.col("settings") == "").alias("default"),
    ).filter(pl.col("cpu").is_not_null() & pl.col("share").is_not_null() & (pl.col("label") != "none"))
    if data.filter(pl.col("label") != ORACLE).is_empty():
        return None
    lowest = min(0.0, float(data["share"].min() or 0))  # type: ignore[arg-type]
    top = max(100.0, float(data["share"].max() or 0))  # type: ignore[arg-type]
    right = 1.15 * float(data["cpu"].max() or 1)  # type: ignore[arg-type]
    x = alt.X("cpu:Q", title="ksmd (% of one CPU)", scale=alt.Scale(domain=[0, right], nice=False))
    y = alt.Y("share:Q", title="share of the oracle's saving (%)", scale=alt.Scale(domain=[lowest, top * 1.04]))
    colour = alt.Color("label:N", scale=colour_scale(labels), legend=None)
    base = alt.Chart(data)
    points = base.mark_point(filled=True, size=160, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            alt.Tooltip("label:N", title="design"),
            alt.Tooltip("cpu:Q", title="% of one CPU"),
            alt.Tooltip("share:Q", title="% of the oracle"),
            alt.Tooltip("saved:Q", title="MiB saved"),
        ],
    )
    ceiling = (
        alt.Chart(pl.DataFrame({"share": [100.0]}))
        .mark_rule(strokeDash=[6, 4], strokeWidth=2, color=CEILING)
        .encode(y=alt.Y("share:Q"))
    )
    default = base.transform_filter((alt.datum.default == True) & (alt.datum.label != ORACLE))  # noqa: E712 - Vega's
    ring = default.mark_point(shape="diamond", size=420, strokeWidth=2.5, color="#ef4444").encode(x=x, y=y)
    text = default.mark_text(dy=-18, color="#ef4444").encode(x=x, y=y, text=alt.value("default"))
    return alt.layer(ceiling, points, ring, text).properties(width="container", height=HEIGHT)


def spec(chart: Any) -> dict[str, Any]:
    """The Vega-Lite specification of a chart, without colours of axes and text."""
    made = dict(chart.to_dict())
    made.pop("config", None)  # the page's own, which follows its colour scheme
    return made


def _data_of(chart: Any) -> list[list[str]]:
    # The plot's data as a table, thinned: for those who do not see it.
    known = [_frame_of(part) for part in (chart, *getattr(chart, "layer", []))]
    frame = next((found for found in known if found is not None), None)
    if frame is None or frame.is_empty():
        return []
    parts = frame.partition_by("label", maintain_order=True) if "label" in frame.columns else [frame]
    rows: list[list[str]] = [list(frame.columns)]
    for part in parts:
        step = max(1, part.height // _TABLE_ROWS)
        rows += [[_plain(value) for value in row] for row in part[::step].rows()]
    return rows


def _frame_of(chart: Any) -> pl.DataFrame | None:
    data = getattr(chart, "data", None)
    return data if isinstance(data, pl.DataFrame) and data.width > 1 else None


def _plain(value: object) -> str:
    return "–" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def charts(
    curves: pl.DataFrame,
    summary: pl.DataFrame,
    price: alt.LayerChart | None = None,
    more: list[tuple[str, str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """The plots of one trace: dicts of `title`, `note`, `spec` (Vega-Lite) and `half` (of the page's width).

    `curves` are the rows of `ksmbench.report.curves.curves`, `summary` those of the comparison with a column `label`.
    What would be empty is left out; `more` plots come last. `price` is drawn first, instead of the plot of savings
    against CPU time.
    """
    alt.data_transformers.disable_max_rows()
    labels = list(dict.fromkeys(summary["label"].to_list() + [ORACLE]))
    designs = curves.filter(pl.col("label") != "none")
    work = designs.filter(pl.col("label") != ORACLE)
    made = [
        (
            _OVER_TIME,
            "Frames in use without merging, minus frames in use with it. The dashed line is the oracle, which merges "
            "all equal mergeable pages at once.",
            lines(designs, "saved_mib", "saved (MiB)", labels, unit="MiB saved"),
        ),
        (
            "What is bought for which CPU time",
            "Up is better, left is cheaper: the saving at the end against the time that ksmd takes.",
            price or _scatter(summary, labels),
        ),
        (
            "Saved, net",
            "The same less KSM's own memory, as the kernel's general_profit counts it: 64 bytes for each scanned page.",
            lines(designs.filter(pl.col("label") != ORACLE), "net_mib", "saved net (MiB)", labels, unit="MiB net"),
        ),
        (
            "Burndown",
            "Memory that the oracle saves and the design does not, not yet or never.",
            lines(work, "left_mib", "left to merge (MiB)", labels, unit="MiB left"),
        ),
        (
            "Copy-on-write breaks",
            "Merged pages that were written and had to be copied again, so far: each costs the guest a fault.",
            lines(work, "cow_breaks", "breaks", labels, unit="breaks"),
        ),
        (
            "ksmd's CPU time",
            "Share of one CPU since the point before.",
            lines(work, "cpu_percent", "% of one CPU", labels, unit="% of one CPU"),
        ),
        (
            "Pages scanned",
            "Pages that ksmd processed per second since the point before.",
            lines(work, "scanned_per_s", "pages/s", labels, unit="pages/s"),
        ),
    ]
    if price is not None:
        made.insert(0, made.pop(1))
    return [
        {
            "title": title,
            "note": note,
            "spec": spec(chart),
            "data": _data_of(chart),
            "half": title != _OVER_TIME and chart is not price,
            "legend": not isinstance(chart, alt.Chart),  # a plot that is one has its own
        }
        for title, note, chart in [*made, *(more or [])]
        if chart is not None
    ]
