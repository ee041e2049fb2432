"""What an answer consists of, and the words that depend on numbers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import polars as pl

from ksmbench.report.table import show
from workloads.review_2009.report.runs import MIB, Run

Number = float | int | None
DEVICE, RFC, ROLLUP, MERGED = "devksm-2009", "madvise-rfc-2009", "ksm-rollup-2009", "ksm-2.6.32"
CALLBACKS = ("fork", "exit", "mremap", "munmap")
ALL_CALLBACKS = f"{RFC},callbacks=all"


@dataclass(frozen=True)
class Table:
    """Rows of texts under headings; the first cell of a row names it."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """Lines over `x`: `data` has the columns `label`, `x` and `value`."""

    name: str
    title: str
    note: str
    unit: str
    data: pl.DataFrame
    x_title: str = "trace time (s)"


@dataclass
class Answer:
    """A question of the review and what the replays say to it: in short, in sentences, in tables and figures."""

    name: str
    title: str
    asked: str
    short: str = ""
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """A column of numbers about runs."""

    heading: str
    value: Callable[[Run], Number]
    digits: int = 0


def key(name: str, heading: str, digits: int = 0, scale: float = 1) -> Column:
    """A number of the summary, times `scale`."""

    def value(run: Run) -> Number:
        found: Number = run[name]
        return None if found is None else found * scale

    return Column(heading, value, digits)


SAVED_MEAN = key("saved_bytes_mean", "saved on average (MiB)", 1, 1 / MIB)
CPU = key("scan_cost_cpu_share", "ksmd (% of one CPU)", 2, 100)
METADATA = key("metadata_bytes", "its structures (MiB)", 2, 1 / MIB)
LOST_MEAN = Column("lost entries, mean", lambda run: run.mean("lost_ptes"))
LOST_MOST = Column("lost entries, most", lambda run: run.most("lost_ptes"))


def table(heading: str, runs: Iterable[Run], *columns: Column) -> Table:
    """A row for each run."""
    rows = tuple(
        (f"`{run.short_label}`", *(show(column.value(run), 1, column.digits) for column in columns)) for run in runs
    )
    return Table(heading, ("design", *(column.heading for column in columns)), rows)


def lines(
    name: str, title: str, note: str, unit: str, runs: Iterable[Run], value: Callable[[pl.DataFrame], pl.Series]
) -> Figure:
    """A line over time for each run, of what `value` makes of its samples."""
    parts = [
        pl.DataFrame({"label": run.short_label, "x": run.seconds, "value": value(run.samples).cast(pl.Float64)})
        for run in runs
    ]
    return Figure(name, title, note, unit, pl.concat(parts))


def n(value: Number, digits: int = 0) -> str:
    """A number as text."""
    return show(value, 1, digits)


def mib(pages: Number, page_size: int = 4096) -> str:
    """Pages as MiB."""
    return "–" if pages is None else f"{show(pages * page_size, 1 / MIB, 1)} MiB"


def saved(run: Run) -> str:
    """What a run saved on average."""
    return f"{show(run['saved_bytes_mean'], 1 / MIB, 1)} MiB"


def percent(part: Number, digits: int = 1) -> str:
    """A part of 1 as percent."""
    return f"{show(part, 100, digits)} %"


SAME = "about the same as"
TWICE = 2.0  # from here on amounts are so many times others


def against(value: float, other: float, about_equal: float) -> str:
    """How `value` compares with `other`: "8.2 % more than", "3.1 times as much as", "about the same as"."""
    if other == 0:
        return SAME if value == 0 else "more than" if value > 0 else "less than"
    difference = (value - other) / abs(other)
    if abs(difference) < about_equal:
        return SAME
    if other > 0 and value >= TWICE * other:
        return f"{n(value / other, 1)} times as much as"
    return f"{percent(abs(difference))} {'more' if difference > 0 else 'less'} than"


def grouped(words: dict[str, str]) -> str:
    """How traces compare, one after the other: "8.2 % less on `a`, about the same on `b` and `c`"."""
    of: dict[str, list[str]] = {}
    for trace, word in words.items():
        of.setdefault(word.removesuffix(" than").removesuffix(" as"), []).append(f"`{trace}`")
    return ", ".join(f"{word} on {both(traces)}" for word, traces in of.items())


def both(parts: list[str]) -> str:
    """Texts in a row: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""
