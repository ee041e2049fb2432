"""Numbers as people read them on a terminal."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ksmbench.result import Result

_READING = """\
saved_bytes is what the host gets back, against `none` on the same trace; oracle_share is how much of the possible that
is; scan_cost_cpu_share is what ksmd takes for it. `ksmbench compare` shows them over time."""


def human(value: float | int | None, unit: str) -> str:
    """`value` with its unit: bytes as MiB, a share as per cent; a dash for none."""
    if value is None:
        return "-"
    if unit == "bytes":
        return f"{value / 2**20:,.1f} MiB"
    if unit == "byte seconds":
        return f"{value / 2**20:,.1f} MiB s"
    if unit == "share":
        return f"{100 * value:.2f} %"
    if unit in ("s", "s/GiB", "ratio"):
        return f"{value:,.2f}" + ("" if unit == "ratio" else f" {unit}")
    return f"{value:,} {unit}"


def replay_table(result: "Result") -> str:
    """What one replay saved and cost, by groups of metrics, and how to read it."""
    from ksmbench.metrics.summary import GROUPS, shown_metrics

    settings = " ".join(f"{name}={value}" for name, value in result.settings.items())
    lines = [f"{result.design}  {settings}".rstrip()]
    metrics = shown_metrics([result.summary])
    for group in GROUPS:
        of_group = [metric for metric in metrics if metric.group == group]
        lines += ["", group] if of_group else []
        for metric in of_group:
            shown = human(result.summary[metric.name], metric.unit)
            lines.append(f"  {metric.name:<21}{shown:>16}   {metric.meaning}")
    lines += ["", _READING]
    refused = result.options["refused_tunes"]
    if refused:
        lines.append(f"{refused} tune event(s) of the trace were skipped: unknown here, or refused by the kernel.")
    return "\n".join(lines)


def comparison_table(summary: list[dict[str, Any]]) -> str:
    """Rows of a summary with `label`, as compare shows them."""
    from ksmbench.report.table import shown_columns, table

    columns, rows = shown_columns(summary), table(summary)
    width = max(len("design"), *(len(row["label"]) for row in rows))
    widths = [max(len(column.short), *(len(row["cells"][i].text) for row in rows)) for i, column in enumerate(columns)]
    heads = [column.short.rjust(n) for column, n in zip(columns, widths, strict=True)]
    lines = ["  ".join(["design".ljust(width), *heads])]
    for row in rows:
        cells = [cell.text.rjust(n) for cell, n in zip(row["cells"], widths, strict=True)]
        lines.append("  ".join([row["label"].ljust(width), *cells]))
    return "\n".join(lines)
