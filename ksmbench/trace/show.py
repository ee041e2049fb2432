"""The text of `ksmbench info`: what `ksmbench.trace.describe` counted, grouped and aligned, in human units."""

from collections.abc import Iterable, Sequence
from typing import Any

_MAX_SPACES = 40
_MAX_CELL = 60
_KIB = 1024

_ODD_WORDS = {
    "writes_outside": "writes or touches outside any mapping",
    "writes_to_never": "writes or touches of mappings that never merge",
    "unmaps_of_nothing": "unmaps where nothing is mapped",
    "advice_on_nothing": "advice where nothing is mapped",
    "moves_of_nothing": "moves of what is not mapped",
    "moves_onto_themselves": "moves onto pages that they move",
    "reads_of_nothing": "reads outside any mapping",
    "reads_of_files": "reads of file mappings",
    "shares_of_nothing": "shares of pages that the other space lacks",
    "swapouts_of_nothing": "swapouts of absent pages",
    "migrations_of_nothing": "migrations of absent pages",
    "advice_without_effect": "advice that changes nothing here",
    "huge_outside": "huge blocks not wholly in anonymous mappings",
    "tunes_of_unknown_settings": "tunes of settings that no release has",
    "spaces_without_events": "spaces without any event",
}


def plain(value: object, limit: int = _MAX_CELL) -> str:
    """Text from a trace as one line that a terminal cannot mistake for its own commands."""
    text = str(value)
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in text)


def size(n_bytes: int) -> str:
    """Bytes in the unit that leaves one to four digits before the point."""
    if abs(n_bytes) < _KIB:
        return f"{n_bytes} B"
    value = float(n_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= _KIB
        if abs(value) < _KIB:
            return f"{value:,.1f} {unit}"
    return f"{value / _KIB:,.1f} PiB"


def share(part: int, whole: int) -> str:
    """A percentage, empty where there is no whole."""
    return f"{part / whole:.1%}" if whole else ""


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:,.3f} s"
    if seconds < 7200:
        return f"{seconds / 60:,.1f} min"
    if seconds < 172800:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 86400:,.1f} days"


def table(rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> list[str]:
    """Align cells in columns: those of `left` to the left, the others to the right; two spaces before each."""
    to_left = set(left)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i in to_left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _head(facts: dict[str, Any]) -> list[str]:
    name = plain(facts["trace"] or "trace", 200)
    lines = [f"{name}: {plain(facts['label'], 200)}" if facts["label"] else name, ""]
    made = f", made {plain(facts['created'])}" if facts["created"] else ""
    lines.append(f"format version {facts['version']}, pages of {size(facts['page_size'])}{made}")
    files = facts["file_bytes"]
    if files:
        each = ", ".join(f"{name.split('.')[0]} {size(n)}" for name, n in files.items())
        lines.append(f"{size(sum(files.values()))} in files: {each}")
    if facts["events"]:
        first = f", from {duration(facts['first_ns'] / 1e9)}" if facts["first_ns"] else ""
        span = "one instant (a snapshot)" if facts["seconds"] == 0 else f"{duration(facts['seconds'])}{first}"
        lines.append(f"{span}, {facts['events']:,} events, {facts['events_at_start']:,} of them at its first instant")
    contents = facts["contents"]
    equal = f", {contents['equal_checksums']:,} with a checksum that another has" if contents["equal_checksums"] else ""
    lines.append(f"{contents['distinct']:,} distinct contents, {contents['written']:,} of them written{equal}")
    return lines


def _events(facts: dict[str, Any]) -> list[str]:
    verbs = sorted(facts["events_by_verb"].items(), key=lambda item: -item[1])
    if not verbs:
        return ["", "Events", "  none"]
    return ["", "Events", *table([(verb, f"{n:,}", share(n, facts["events"])) for verb, n in verbs])]


_MEMORY_WORDS = (
    ("pages", "anonymous pages"),
    ("frames", "frames (pages that fork shares count once)"),
    ("mergeable_pages", "pages in mergeable mappings"),
    ("zero_pages", "zero-filled pages"),
    ("distinct_contents", "distinct contents that are not zero"),
    ("duplicates_within", "duplicates within a space"),
    ("duplicates_across", "duplicates across spaces"),
    ("oracle_saved_pages", "an oracle would save"),
    ("oracle_saved_pages_if_all_mergeable", "  if all of it were mergeable"),
)


def _memory(facts: dict[str, Any]) -> list[str]:
    page = facts["page_size"]
    start, end = facts["memory"]["start"], facts["memory"]["end"]
    rows = [("", "at the start", "", "at the end", "")]
    for name, words in _MEMORY_WORDS:
        cells = [words]
        for moment in (start, end):
            of = moment["frames"] if name.startswith("oracle") else moment["pages"]
            cells += [size(moment[name] * page), "" if name == "pages" else share(moment[name], of)]
        rows.append((cells[0], cells[1], cells[2], cells[3], cells[4]))
    lines = ["", "Memory", *table(rows)]
    if facts["pages_read_at_start"]:
        lines.append(f"  At the start {size(facts['pages_read_at_start'] * page)} more map the kernel's zero page.")
    return lines


def _spaces(facts: dict[str, Any]) -> list[str]:
    page = facts["page_size"]
    spaces = facts["spaces"]
    if not spaces:
        return ["", "Spaces", "  none"]
    shown = spaces
    if len(spaces) > _MAX_SPACES:
        shown = sorted(spaces, key=lambda row: -row["end"]["pages"])[:_MAX_SPACES]
    rows = [("space", "name", "pid", "kind", "start", "end", "mergeable", "zero", "duplicates")]
    for row in shown:
        end = row["end"]
        name = plain(row["name"]) + (f" ({plain(row['domain'])})" if row["domain"] else "")
        rows.append(
            (
                str(row["space"]),
                name,
                "" if row["pid"] is None else str(row["pid"]),
                row["kind"],
                size(row["start"]["pages"] * page),
                size(end["pages"] * page) if end["alive"] else "gone",
                share(end["mergeable_pages"], end["pages"]),
                share(end["zero_pages"], end["pages"]),
                share(end["duplicates_within"], end["pages"]),
            )
        )
    lines = ["", "Spaces (mergeable, zero, duplicates within the space: at the end)", *table(rows, left=(0, 1, 3))]
    if len(spaces) > len(shown):
        lines.append(f"  and {len(spaces) - len(shown):,} more with less; --json lists all")
    return lines


def _facts_of(title: str, facts: dict[str, Any]) -> list[str]:
    # What the manifest says, whatever its writer found worth saying.
    rows: list[tuple[str, str]] = []
    for name, value in list(facts.items())[:_MAX_SPACES]:
        if name.endswith("_ns") and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
            rows.append((plain(name[:-3]), duration(value / 1e9)))
        elif (
            name.endswith("_bytes") and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
        ):
            rows.append((plain(name[:-6]), size(value)))
        elif isinstance(value, dict):
            rows.append((plain(name), plain(", ".join(f"{k} {v}" for k, v in value.items()), 160)))
        elif isinstance(value, list):
            rows.append((plain(name), plain(", ".join(map(str, value)), 160)))
        elif value is not None:
            rows.append((plain(name), plain(value, 160)))
    return ["", title, *table(rows, left=(0, 1))] if rows else []


def _oddities(facts: dict[str, Any]) -> list[str]:
    odd = facts["oddities"]
    if not odd:
        return []
    rows = [(f"{n:,}", _ODD_WORDS[name]) for name, n in odd.items()]
    return ["", "Odd but possible; a replay skips what has no meaning", *table(rows, left=(1,))]


def show(facts: dict[str, Any]) -> str:
    """Return the report on a trace as lines of text."""
    lines = [
        *_head(facts),
        *_memory(facts),
        *_spaces(facts),
        *_events(facts),
        *_facts_of("Capture", facts["capture"]),
        *_facts_of("Host", facts["host"]),
        *_oddities(facts),
    ]
    return "\n".join(lines)
