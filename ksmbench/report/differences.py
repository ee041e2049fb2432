"""Each design of a comparison against the first, in words or as a table; "no difference" is a result."""

from dataclasses import dataclass
from typing import Any

from ksmbench.metrics.summary import METRICS
from ksmbench.report.table import show
from ksmbench.specs import BOUNDS

Row = dict[str, Any]
MANY = 4  # designs beside the first: more are told as a table
_MEANING = (
    "Every number of a replay's summary is compared with the first design's on the same trace, at the end of the "
    "replay; what is equal to the last bit counts as equal. Definitions are at the end."
)


@dataclass(frozen=True)
class _Told:
    """A metric whose difference is told: shown = difference * scale."""

    name: str
    scale: float
    digits: int
    unit: str  # after the number
    more: str  # after the unit
    less: str
    heading: str


_NEARLY = "at nine tenths of its saving"
_TOLD = (
    _Told("saved_bytes", 1 / 2**20, 1, " MiB", " more saved", " less saved", "saved (MiB)"),
    _Told("scan_cost_cpu_share", 100, 2, " % of one CPU", " more", " less", "ksmd (% of one CPU)"),
    _Told("time_to_90_percent_s", 1, 1, " s", f" later {_NEARLY}", f" sooner {_NEARLY}", "nine tenths after (s)"),
    _Told("cow_breaks", 1, 0, "", " more copy-on-write breaks", " fewer copy-on-write breaks", "copy-on-write breaks"),
    _Told("pages_scanned", 1, 0, "", " more pages scanned", " fewer pages scanned", "pages scanned"),
    _Told("merges", 1, 0, "", " more merges", " fewer merges", "merges"),
)


def _counted(one: Row, other: Row) -> tuple[list[str], int]:
    # The numbers that differ, and how many there are; how long the replay was is none of them.
    names = [
        metric.name
        for metric in METRICS
        if metric.name != "seconds" and (one.get(metric.name) is not None or other.get(metric.name) is not None)
    ]
    return [name for name in names if one.get(name) != other.get(name)], len(names)


def _both(told: _Told, one: Row, other: Row) -> bool:
    return one.get(told.name) is not None and other.get(told.name) is not None


def _words(told: _Told, one: Row, other: Row) -> str:
    change = (other[told.name] - one[told.name]) * told.scale
    size = show(abs(change), 1, told.digits)
    if not round(abs(change), told.digits):
        size = f"under {10**-told.digits:.{told.digits}f}"
    return f"{size}{told.unit}{told.more if change > 0 else told.less}"


def _sentence(one: Row, other: Row) -> str:
    differ, n = _counted(one, other)
    text = f"`{other['label']}` against `{one['label']}`: "
    if not differ:
        return f"{text}no difference in any of {n} numbers."
    words = [_words(told, one, other) for told in _TOLD if told.name in differ and _both(told, one, other)]
    same = n - len(differ)
    said = ", ".join(words) or f"{len(differ)} number{'s' if len(differ) > 1 else ''} of those in the summary"
    return f"{text}{said}; {same} of {n} numbers equal."


def _cell(told: _Told, one: Row, other: Row) -> str:
    if not _both(told, one, other):
        return "–"
    if one[told.name] == other[told.name]:
        return "="
    return f"{(other[told.name] - one[told.name]) * told.scale:+,.{told.digits}f}"


def _table(first: Row, others: list[Row]) -> Row:
    rows = []
    for other in others:
        differ, n = _counted(first, other)
        equal = "all, no difference" if not differ else f"{n - len(differ)} of {n}"
        rows.append([f"`{other['label']}`", *(_cell(told, first, other) for told in _TOLD), equal])
    return {
        "title": f"Against the first design, {first['label']}",
        "note": f"Each design's number less that of `{first['label']}`; = is no difference, a dash that one has "
        "no such number.",
        "meaning": _MEANING,
        "heads": ["design", *(told.heading for told in _TOLD), "numbers that are equal"],
        "rows": rows,
    }


def differences(rows: list[Row]) -> dict[str, Any]:
    """Each design against the first: `sentences`, or where they are MANY a `table`; `meaning` says what is compared."""
    designs = [row for row in rows if row["design"] not in BOUNDS]
    first, others = designs[:1], designs[1:]
    if len(others) > MANY:
        return {"sentences": [], "table": _table(first[0], others), "meaning": _MEANING}
    return {"sentences": [_sentence(first[0], other) for other in others], "table": None, "meaning": _MEANING}
