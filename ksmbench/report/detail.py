"""What the last states of replays tell: who shares with whom, what work costs, what would be lost."""

from collections.abc import Iterator
from typing import Any

import altair as alt
import polars as pl

from ksmbench.engine.cost import CostProfile, find_profile
from ksmbench.metrics.sharing import OTHERS, Sharing
from ksmbench.report.charts import Chart, Plot, lines
from ksmbench.report.curves import LABEL, MIB
from ksmbench.report.strokes import PALETTE
from ksmbench.report.table import show
from ksmbench.result import Comparison
from ksmbench.specs import BOUNDS

Row = dict[str, Any]
STEPS = ("looking at pages", "skipping pages", "checksums", "comparing pages", "merging", "waking up, and the rest")
STEP_COLOURS = PALETTE
_ROWS = 12  # of the tables of single spaces


def work_of(last: Row, profile: CostProfile) -> list[tuple[str, float]]:
    """CPU seconds of each of STEPS until the sample `last`, at the prices of `profile`."""

    def priced(*pairs: tuple[str, float]) -> float:
        return sum((last.get(name) or 0) * price for name, price in pairs) / 1e9

    parts = [
        priced(
            ("pages_scanned", profile.scanned_ns),
            ("rmap_items_made", profile.item_made_ns),
            ("rmap_items_freed", profile.item_freed_ns),
            ("empty_entries", profile.empty_entry_ns),
            ("empty_addresses", profile.skipped_ns),
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
    most_commas = max(label.count(",") for label in data["label"])
    # A setting below the other: long names would leave no room for the bars.
    split = alt.Axis(labelExpr="split(datum.label, ',')", labelLimit=180, labelLineHeight=13)
    made: Chart = (
        alt.Chart(data)
        .mark_bar(height={"band": 0.72})
        .encode(
            y=alt.Y("label:N", title=None, sort=None, axis=split),
            x=alt.X("sum(seconds):Q", title="CPU seconds"),
            color=alt.Color(
                "step:N",
                scale=alt.Scale(domain=list(STEPS), range=list(STEP_COLOURS)),
                legend=alt.Legend(orient="bottom", columns=2, title=None, labelLimit=200),
            ),
            order=alt.Order("number:Q"),
            tooltip=["label:N", "step:N", alt.Tooltip("seconds:Q", format=",.3f")],
        )
        .properties(width="container", height=data["label"].n_unique() * max(34, 21 + 13 * most_commas))
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


def charts_of(comparison: Comparison, trace: str, labels: list[str]) -> list[Plot]:
    """Plots of what the last states tell."""
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
    text, number = pl.String, pl.Float64
    return [
        Plot(
            "What ksmd's work consists of",
            "CPU time of the whole replay by the step that took it, at the prices of the cost profile.",
            "In CPU seconds, from the last sample: counter * price, summed for each step. Looking at pages: "
            "`pages_scanned`, `rmap_items_made`, `rmap_items_freed`. Skipping: `pages_skipped`. Checksums: "
            "`checksums`. Comparing: `comparing_ns`. Merging: `merges`, `stable_nodes_made`, `stale_nodes_pruned`. "
            "The rest is `cpu_ns` less all of these. The profile is named at the end; docs/cost.md says what is "
            "priced.",
            _work_chart(work_rows(comparison, trace)),
            {"label": "design", "step": "step", "seconds": "CPU seconds"},
            ("cpu_s",),
        ),
        Plot(
            "How long sharing lasts",
            "Of the page-table entries that map a merged frame at a look, the part that maps it still so much later.",
            "entries that map the same merged frame at both looks / entries that map a merged frame at the earlier "
            "one, in %, over all pairs of looks that far apart. Looks are at samples, at most 24 of them, at up to "
            "200,000 entries spread over all.",
            lines(
                pl.DataFrame(lasting, schema={"label": text, "seconds": number, "share": number}),
                "share",
                "still shared (%)",
                labels,
                unit="% still shared",
                x_title="seconds later",
            ),
            {"label": "design", "seconds": "seconds later", "share": "still shared (%)"},
        ),
        Plot(
            "The cliff",
            "Memory needed at the end if the busiest writers wrote to everything that they share.",
            "frames that would be used more, * page / 2^20, in MiB: every entry of the k busiest writers that maps a "
            "merged frame or the zero page in place of one gets a frame of its own, and a merged frame is free once "
            "all that map it have been rewritten. Busiest: the spaces that wrote most pages after the trace's first "
            "moment.",
            lines(
                pl.DataFrame(cliffs, schema={"label": text, "writers": number, "more_mib": number}),
                "more_mib",
                "more memory (MiB)",
                labels,
                unit="MiB more",
                x="writers",
                x_title="how many of them",
                x_unit="writers",
                x_counts=True,
            ),
            {"label": "design", "writers": "writers", "more_mib": "more memory (MiB)"},
        ),
    ]


def _matrix_table(one: Sharing, mib: float) -> Row:
    # The row and the column of all others together are no measure of the single ones.
    single = sum(name != OTHERS for name in one.spaces) or len(one.spaces)
    most = max((max(row[:single]) for row in one.matrix[:single]), default=0) or 1
    return {
        "title": "Who shares with whom",
        "note": "MiB of the row's memory whose merged frames the column's space maps too; on the diagonal, what it "
        "shares within itself.",
        "meaning": "An entry of the page tables counts once for each space that maps its frame: rows do not add up. "
        "Read from the last state of the replay; frames that a fork shares without merging do not count.",
        "heads": ["space", *one.spaces],
        "rows": [
            [name, *({"text": show(pages, mib, 1), "heat": min(100, round(100 * pages / most))} for pages in row)]
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
        "heads": ["by", "lost (MiB)", "that is"],
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
