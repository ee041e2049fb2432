"""What a comparison shows beside its curves: who shares with whom, what work costs, what would be lost, differences."""

from collections.abc import Iterator
from typing import Any

import altair as alt
import polars as pl

from ksmbench.comparing import BOUNDS, Comparison
from ksmbench.engine.cost import CostProfile, find_profile
from ksmbench.metrics.sharing import Sharing
from ksmbench.metrics.summary import METRICS
from ksmbench.report.charts import lines
from ksmbench.report.curves import LABEL, MIB
from ksmbench.report.table import show

Row = dict[str, Any]
Chart = alt.LayerChart | alt.FacetChart | alt.Chart
STEPS = ("looking at pages", "skipping pages", "checksums", "comparing pages", "merging", "waking up, and the rest")
# The palette of Okabe and Ito, which most eyes tell apart.
STEP_COLOURS = ("#0072b2", "#999999", "#e69f00", "#cc79a7", "#009e73", "#56b4e9")
_ROWS = 12  # of the tables of single spaces
_DIFFERENCES = ("saved_bytes", "scan_cost_cpu_share", "time_to_90_percent_s", "cow_breaks", "pages_scanned", "merges")


def work_of(last: Row, profile: CostProfile) -> list[tuple[str, float]]:
    """CPU seconds of each of STEPS until the sample `last`, at the prices of `profile`."""

    def priced(*pairs: tuple[str, float]) -> float:
        return sum((last.get(name) or 0) * price for name, price in pairs) / 1e9

    parts = [
        priced(
            ("pages_scanned", profile.scanned_ns),
            ("rmap_items_made", profile.item_made_ns),
            ("rmap_items_freed", profile.item_freed_ns),
        ),
        priced(("pages_skipped", profile.skipped_ns)),
        priced(("checksums", profile.checksum_ns)),
        priced(("comparing_ns", 1.0)),
        priced(
            ("merges", profile.merge_ns),
            ("stable_nodes_made", profile.stable_node_ns),
            ("stale_nodes_pruned", profile.stale_node_ns),
        ),
    ]
    rest = max(0.0, (last["cpu_ns"] or 0) / 1e9 - sum(parts))
    return list(zip(STEPS, [*parts, rest], strict=True))


def _work_chart(rows: list[Row]) -> Chart | None:
    data = pl.DataFrame(rows)
    if data.is_empty() or not data["seconds"].sum():
        return None
    made: Chart = (
        alt.Chart(data)
        .mark_bar()
        .encode(
            y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=180)),
            x=alt.X("sum(seconds):Q", title="CPU seconds"),
            color=alt.Color(
                "step:N",
                scale=alt.Scale(domain=list(STEPS), range=list(STEP_COLOURS)),
                legend=alt.Legend(orient="bottom", columns=2, title=None, labelLimit=200),
            ),
            order=alt.Order("number:Q"),
            tooltip=["label:N", "step:N", alt.Tooltip("seconds:Q", format=",.3f")],
        )
        .properties(width="container", height=max(60, 34 * data["label"].n_unique()))
    )
    return made


def _samples(comparison: Comparison, trace: str) -> Iterator[tuple[str, pl.DataFrame]]:
    labelled = comparison.samples.filter(pl.col("trace") == trace, ~pl.col("design").is_in(BOUNDS)).with_columns(LABEL)
    for part in labelled.partition_by("label", maintain_order=True):
        yield part["label"][0], part


def _sharing(comparison: Comparison, trace: str) -> dict[str, Sharing]:
    return {
        ",".join(filter(None, key[1:])): found
        for key, found in comparison.sharing.items()
        if key[0] == trace and key[1] not in BOUNDS
    }


def work_rows(comparison: Comparison, trace: str) -> list[Row]:
    """CPU seconds by design and step; none without a cost profile."""
    profile = find_profile(comparison.options["cost"])
    if profile is None:
        return []
    return [
        {"label": label, "step": step, "number": number, "seconds": round(seconds, 4)}
        for label, part in _samples(comparison, trace)
        for number, (step, seconds) in enumerate(work_of(part.row(-1, named=True), profile))
    ]


def charts_of(comparison: Comparison, trace: str, labels: list[str]) -> list[tuple[str, str, Chart | None]]:
    """Title, note and plot of what the last states tell."""
    found = _sharing(comparison, trace)
    mib = comparison.page_size[trace] / MIB
    cliffs = [
        {"label": label, "writers": float(k), "more_mib": pages * mib}
        for label, one in found.items()
        for k, pages in enumerate(one.cliff)
    ]
    lasting = [
        {"label": label, "seconds": seconds, "share": 100 * share}
        for label, one in found.items()
        for seconds, share in one.lifetimes
    ]
    no_rows = {"label": pl.String, "seconds": pl.Float64, "share": pl.Float64}
    return [
        (
            "What ksmd's work consists of",
            "CPU time of the whole replay by the step that took it, at the prices of the cost profile.",
            _work_chart(work_rows(comparison, trace)),
        ),
        (
            "How long sharing lasts",
            "Of the page-table entries that map a merged frame at a look, the part that maps it still so much later.",
            lines(
                pl.DataFrame(lasting, schema=None if lasting else no_rows),
                "share",
                "still shared (%)",
                labels,
                unit="% still shared",
                x_title="seconds later",
            ),
        ),
        (
            "The cliff",
            "Memory needed at the end if the busiest writers wrote to everything that they share.",
            lines(
                pl.DataFrame(
                    cliffs,
                    schema=None if cliffs else {"label": pl.String, "writers": pl.Float64, "more_mib": pl.Float64},
                ),
                "more_mib",
                "more memory (MiB)",
                labels,
                unit="MiB more",
                x="writers",
                x_title="how many of them",
                x_unit="writers",
            ),
        ),
    ]


def _matrix_table(one: Sharing, mib: float) -> Row:
    most = max((max(row) for row in one.matrix), default=0) or 1
    return {
        "title": "Who shares with whom",
        "note": "MiB of the row's memory whose merged frames the column's space maps too; on the diagonal, what it "
        "shares within itself.",
        "meaning": "An entry of the page tables counts once for each space that maps its frame: rows do not add up. "
        "Read from the last state of the replay; frames that a fork shares without merging do not count.",
        "heads": ["space", *one.spaces],
        "rows": [
            [name, *({"text": show(pages, mib, 1), "heat": round(100 * pages / most)} for pages in row)]
            for name, row in zip(one.spaces, one.matrix, strict=True)
        ],
    }


def _mappings_table(one: Sharing, mib: float) -> Row:
    return {
        "title": "Yield per mapping",
        "note": "What scanning each kind of mapping brought.",
        "meaning": "Pages present in mergeable mappings of that name, and the part that maps a merged frame or the "
        "zero page in place of one, at the end.",
        "heads": ["mapping", "mergeable (MiB)", "merged (MiB)", "yield (%)"],
        "rows": [
            [
                each.name,
                show(each.mergeable, mib, 1),
                show(each.merged, mib, 1),
                show(each.merged / each.mergeable if each.mergeable else None, 100, 1),
            ]
            for each in one.mappings
        ],
    }


def _lost_table(found: dict[str, Sharing], mib: float) -> Row:
    one = next(iter(found.values()))
    most = one.potential
    rows = [
        [f"max_page_sharing, {label}", show(each.lost_to_max_page_sharing, mib, 1), ""] for label, each in found.items()
    ]
    if most.lost_to_domains is not None:
        alone = "; ".join(f"{name} {show(saved, mib, 1)} MiB" for name, saved in most.domains)
        rows.append(["merging within domains only", show(most.lost_to_domains, mib, 1), f"alone: {alone}"])
    for name, pages in most.opting_out[:_ROWS]:
        share = show(pages / most.possible if most.possible else None, 100, 1)
        rows.append([f"{name} opts out", show(pages, mib, 1), f"{share} % of the possible"])
    return {
        "title": "What sharing is lost",
        "note": "By the limit on a frame's sharers, by boundaries between domains, by one space that opts out.",
        "meaning": "max_page_sharing: merged frames at the end beyond one for each content. Domains and opting out: "
        "what merging all mergeable memory at once would save less at the end; a frame that a fork left shared is a "
        "page of the space that comes first.",
        "heads": ["by", "lost (MiB)", ""],
        "rows": rows,
    }


def tables_of(comparison: Comparison, trace: str, label: str | None) -> list[Row]:
    """Tables of the last state of the design `label`, and of what is lost by each."""
    found = _sharing(comparison, trace)
    if not found:
        return []
    chosen = label if label in found else next(iter(found))
    mib = comparison.page_size[trace] / MIB
    one = found[chosen]
    made = [_matrix_table(one, mib)] if one.spaces else []
    made += [_mappings_table(one, mib)] if one.mappings else []
    for table in made:
        table["note"] += f" Of `{chosen}`."
    return [*made, _lost_table(found, mib)]


def _difference(one: Row, other: Row) -> str:
    names = [
        metric.name
        for metric in METRICS
        if metric.name != "seconds" and (one.get(metric.name) is not None or other.get(metric.name) is not None)
    ]
    differ = [name for name in names if one.get(name) != other.get(name)]
    text = f"`{other['label']}` against `{one['label']}`: "
    if not differ:
        return text + "no difference in any number."
    told = []
    units = {metric.name: metric.unit for metric in METRICS}
    for name in _DIFFERENCES:
        if name not in differ or one[name] is None or other[name] is None:
            continue
        scale, digits, unit = {
            "bytes": (1 / MIB, 1, " MiB"),
            "share": (100, 2, " % of a CPU"),
            "s": (1, 1, " s"),
        }.get(units[name], (1, 0, ""))
        change = (other[name] - one[name]) * scale
        told.append(f"{name} {change:+,.{digits}f}{unit}")
    same = len(names) - len(differ)
    return text + (", ".join(told) or f"{len(differ)} numbers differ") + f"; {same} numbers are equal."


def differences(rows: list[Row]) -> list[str]:
    """Each design against the first, in words."""
    designs = [row for row in rows if row["design"] not in BOUNDS]
    return [_difference(designs[0], other) for other in designs[1:]]


def headline(rows: list[Row], chosen: Row | None) -> str | None:
    """The one sentence to read: net saving, CPU, time, settings."""
    if chosen is None:
        return None
    text = f"{show(chosen['saved_bytes_net'], 1 / MIB, 1)} MiB would be saved, net of KSM's own memory"
    if chosen.get("scan_cost_cpu_share") is not None:
        text += f", for {show(chosen['scan_cost_cpu_share'], 100, 2)} % of one CPU"
    if chosen.get("time_to_90_percent_s") is not None:
        text += f", nine tenths of it after {show(chosen['time_to_90_percent_s'])} s"
    return f"{text}, with `{chosen['label']}`."
