"""The explanation as text of at most 80 columns: what keeps memory from merging, by reason; then what almost equals."""

import textwrap
from collections.abc import Sequence
from typing import Any

from ksmbench.trace.show import plain, share, size

WIDTH = 80
_NAME = 17
_NAMES = 6
_ROWS = 10  # of a group, unless all are wanted
_HEAD = ("address", "size", "present", "zero", "self", "proc", "else", "saves", "mapping")
_WIDTHS = (12, 7, 7, 4, 4, 4, 4, 7)
_LEGEND = (
    "of the present pages: zero = full of zeros; self, proc, else = equal to a page of the same mapping, else of the "
    "same process, else of another; saves = its part of what merging all that was read would save"
)


def _wrapped(text: str, indent: str = "  ", first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _short(n_bytes: float) -> str:
    # At most six characters.
    if n_bytes < 1 << 10:
        return f"{n_bytes:.0f}B"
    value = n_bytes
    for unit in "KMGT":
        value /= 1024
        if value < 999.95:
            return f"{value:.1f}{unit}"
    return f"{value / 1024:.1f}P"


def _part(n: int, whole: int) -> str:
    return f"{100 * n / whole:.0f}%" if n else "-"


def _ending(name: str, limit: int) -> str:
    # Of a path the end says more than the beginning.
    name = plain(name, 400)
    return name if len(name) <= limit else ".." + name[2 - limit :]


def _row(mapping: dict[str, Any], page: int, with_space: bool) -> str:
    present = mapping.get("present_pages", 0)
    name = mapping["name"] or "anonymous"
    if with_space:
        who = str(mapping["pid"] if mapping["pid"] is not None else mapping["space"])
        name = f"{who} {_ending(name, _NAME - 1 - len(who))}"
    cells = (
        mapping["address"],
        _short(mapping["pages"] * page),
        _short(present * page) if present else "-",
        _part(mapping["zero_pages"], present),
        _part(mapping["equal_in_mapping"], present),
        _part(mapping["equal_in_space"], present),
        _part(mapping["equal_elsewhere"], present),
        _short(mapping["would_save_pages"] * page) if mapping["would_save_pages"] >= 0.5 else "-",
    )
    line = " ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"  {line}  {_ending(name, _NAME)}"


def _told(space: dict[str, Any]) -> str:
    told = []
    if "ksm_merge_any" in space:
        told.append("asked for all by prctl" if space["ksm_merge_any"] else "not asked for all by prctl")
    if "ksm_merging_pages" in space:
        told.append(f"{space['ksm_merging_pages']:,} pages merged now")
    if space.get("ksm_zero_pages"):
        told.append(f"{space['ksm_zero_pages']:,} zero pages by KSM")
    if space.get("alive") is False:
        told = ["not there at this moment"]
    return ", ".join(told) or "the kernel does not tell what was asked for"


def _who(facts: dict[str, Any], spaces: Sequence[dict[str, Any]]) -> str:
    # Those of whom the same is told; by name where that tells them apart.
    is_live, n = "pids" in facts, len(spaces)
    first = spaces[0]
    kind = "guest" if first["kind"] == "vm" else "process" if is_live else "space"
    if n == 1:
        return f"{kind} {first['pid'] if is_live else first['space']} ({plain(first['name'])})"
    names = list(dict.fromkeys(plain(space["name"]) for space in spaces))
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return f"{n:,} {kind}{'es' if kind == 'process' else 's'} ({', '.join(names[:_NAMES])}{more})"


def _spaces(facts: dict[str, Any]) -> list[str]:
    groups: dict[tuple[str, str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for space in facts["spaces"]:
        groups.setdefault((space["kind"], _told(space), tuple(space["notes"])), []).append(space)
    lines = []
    for (_, told, notes), spaces in groups.items():
        lines += _wrapped(f"{_who(facts, spaces)}: {told}", "  ", "")
        for note in notes:
            lines += _wrapped(note, "    ", "  ! ")
    return lines


def _groups(mappings: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    # By reason, those that would save most first.
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for mapping in mappings:
        groups.setdefault((mapping["verdict"], mapping["why"], mapping["remedy"]), []).append(mapping)
    weight = {key: sum(m["would_save_pages"] for m in group) for key, group in groups.items()}
    return [groups[key] for key in sorted(groups, key=lambda key: -weight[key])]


def _is_empty(mapping: dict[str, Any]) -> bool:
    return not any(mapping.get(name) for name in ("present_pages", "swapped_pages", "merged_pages"))


def _group(
    group: list[dict[str, Any]], facts: dict[str, Any], show_all: bool, limit: int, with_space: bool
) -> list[str]:
    page, first = facts["page_size"], group[0]
    present = sum(m.get("present_pages", 0) for m in group)
    saves = sum(m["would_save_pages"] for m in group) * page
    n = sum(m["mappings"] for m in group)
    title = f"{'CAN' if first['can_merge'] else 'CANNOT'} MERGE: {first['verdict']}"
    sums = [f"{n:,} mapping{'s' if n != 1 else ''}", f"{size(present * page)} present"]
    merged = sum(m.get("merged_pages", 0) for m in group)
    cache = sum(m.get("page_cache_pages", 0) for m in group)
    sums += [f"{size(merged * page)} merged now"] if merged else []
    sums += [f"{size(cache * page)} page cache"] if cache else []
    sums += [f"saves {size(round(saves))}"] if saves >= page / 2 else []
    lines = ["", *_wrapped(f"{title} ({', '.join(sums)})", "  ", ""), *_wrapped(first["why"])]
    if first["remedy"]:
        lines += _wrapped(f"do: {first['remedy']}", "      ", "  ")
    for note in dict.fromkeys(note for m in group for note in m["notes"]):
        having = sum(m.get("present_pages", 0) for m in group if note in m["notes"])
        lines += _wrapped(f"{note} ({size(having * page)})", "    ", "  ! ")
    shown = group if show_all else [m for m in group if not _is_empty(m)]
    rows = shown if show_all else shown[:limit]
    lines += [_row(mapping, page, with_space) for mapping in rows]
    left = len(group) - len(rows)
    if left and rows:
        holding = shown[len(rows) :]
        what = f"{size(sum(m.get('present_pages', 0) for m in holding) * page)}" if holding else "nothing"
        lines.append(f"  and {left:,} more, which hold {what}; --all lists them")
    return lines


def _savings(facts: dict[str, Any]) -> list[str]:
    page, saves = facts["page_size"], facts["savings"]
    text = f"merging saves at best {size(saves['as_asked_pages'] * page)} of what was asked for"
    text += f", {size(saves['if_all_asked_pages'] * page)} if all that can merge were asked for"
    if saves["if_all_were_private_pages"] != saves["if_all_asked_pages"]:
        text += f", {size(saves['if_all_were_private_pages'] * page)} if shared memory were private too"
    return _wrapped(text, "  ", "")


def _offset_name(first: int, last: int, page: int) -> str:
    text = f"byte {first:,}" if first == last else f"byte {first:,} to {last:,}"
    return f"{text} (the tail)" if first >= page - 64 else text


def _differences(facts: dict[str, Any]) -> list[str]:
    found, page = facts["differences"], facts["page_size"]
    n = found["pages"]
    if not n:
        return []
    almost = found["almost_equal_pages"]
    has_bytes = almost is not None
    most = found["almost_equal_bytes"]
    text = f"ALMOST EQUAL? {n:,} pages equal no other"
    if has_bytes:
        text += f"; {almost:,} of them differ from the nearest page in at most {most} bytes"
    heads = ["pages", "share", *(["almost equal", "bytes differ"] if has_bytes else [])]
    lines = ["", *_wrapped(text, "  ", ""), _difference("first difference to the nearest", heads)]
    for row in found["ranges"]:
        if row["pages"]:
            cells = [f"{row['pages']:,}", share(row["pages"], n)]
            cells += [f"{row['almost_equal_pages']:,}", f"{row['median_bytes']:,}"] if has_bytes else []
            lines.append(_difference(_offset_name(row["first"], row["last"], page), cells))
    offsets = found["offsets"]
    if offsets:
        heads = ["pages", *(["bytes differ"] if has_bytes else [])]
        what = "commonest among the almost equal" if has_bytes else "commonest"
        lines.append(f"{_difference(what, heads)}  mostly in")
    for row in offsets:
        cells = [f"{row['pages']:,}", *([f"{row['median_bytes']:,}"] if has_bytes else [])]
        line = _difference(_offset_name(row["offset"], row["offset"], page), cells)
        lines.append(f"{line}  {_ending(row['mostly_in'], WIDTH - 2 - len(line))}")
    return lines


def _difference(where: str, cells: Sequence[str]) -> str:
    # Where, how many pages, their share, how many of them are almost equal, bytes that differ (the middle).
    widths = (9, 8, 14, 14) if len(cells) != 2 or cells[1].endswith(("%", "share")) else (9, 14)
    return f"  {where:<32}" + "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=False))


def show_mappings(facts: dict[str, Any], *, show_all: bool = False, limit: int = _ROWS) -> list[str]:
    """Return the groups of mappings, by reason, at most `limit` rows each; then where almost equal pages differ."""
    mappings = facts["mappings"]
    with_space = len(facts["spaces"]) > 1
    lines = _savings(facts)
    if not mappings:
        return [*lines, "nothing is mapped"]
    lines += _wrapped(_LEGEND)
    lines.append("  " + " ".join(h.rjust(w) for h, w in zip(_HEAD, _WIDTHS, strict=False)) + f"  {_HEAD[-1]}")
    hidden = 0
    for group in _groups(mappings):
        if not show_all and all(map(_is_empty, group)) and not any(m.get("page_cache_pages") for m in group):
            hidden += sum(m["mappings"] for m in group)
            continue
        lines += _group(group, facts, show_all, limit, with_space)
    if hidden:
        lines += ["", f"{hidden:,} mappings for other reasons hold nothing; --all lists them"]
    return [*lines, *_differences(facts)]


def show(facts: dict[str, Any], *, show_all: bool = False) -> str:
    """Return the whole explanation."""
    lines = [line for sentence in facts["first"] for line in _wrapped(sentence, "  ", "")]
    if "trace" in facts:
        lines.append(f"{plain(facts['trace'] or 'trace', 60)} at {facts['at_s']:,.3f} s")
    return "\n".join([*lines, *_spaces(facts), "", *show_mappings(facts, show_all=show_all)])
