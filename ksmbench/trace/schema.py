"""The trace format, version 1, as data: the tables, their columns and the verbs.

This module is the one place that knows a column's name and type or a verb's needs; the writer, the reader and the rules
(`ksmbench.trace.rules`) all read it from here.
"""

from dataclasses import dataclass
from enum import IntEnum

FORMAT = "ksmbench-trace"
VERSION = 1
HUGE_PAGES = 512  # pages of a huge frame
PAGE_LIMIT = 1 << 52  # first page number that no address space reaches


class Kind(IntEnum):
    """The verbs of `events.parquet`, numbered for the engine (the file holds their names in lower case)."""

    MAP = 0
    UNMAP = 1
    MOVE = 2
    MADVISE = 3
    WRITE = 4
    TOUCH = 5
    READ = 6
    FORK = 7
    HUGE = 8
    SHARE = 9
    MIGRATE = 10
    SWAPOUT = 11
    EXEC = 12
    EXIT = 13
    PRCTL = 14
    TUNE = 15
    MARK = 16


KIND_NAMES: tuple[str, ...] = tuple(kind.name.lower() for kind in Kind)

# Verbs that act on pages [page, page + count): count is at least 1.
RANGE_KINDS = frozenset(
    {
        Kind.MAP,
        Kind.UNMAP,
        Kind.MOVE,
        Kind.MADVISE,
        Kind.WRITE,
        Kind.TOUCH,
        Kind.READ,
        Kind.HUGE,
        Kind.SHARE,
        Kind.MIGRATE,
        Kind.SWAPOUT,
    }
)
# Verbs whose `value` says something: it must not be null.
VALUE_KINDS = frozenset(
    {
        Kind.MAP,
        Kind.MOVE,
        Kind.MADVISE,
        Kind.WRITE,
        Kind.FORK,
        Kind.SHARE,
        Kind.MIGRATE,
        Kind.PRCTL,
        Kind.TUNE,
    }
)
# Verbs whose `value` is a space.
SPACE_VALUE_KINDS = frozenset({Kind.FORK, Kind.SHARE})


class Mapping(IntEnum):
    """The `value` of a `map` event."""

    ANONYMOUS = 0
    NEVER = 1
    FILE = 2


class Advice(IntEnum):
    """Advice of madvise(2) that changes something here, by its number in Linux."""

    DONTNEED = 4
    DONTFORK = 10
    DOFORK = 11
    MERGEABLE = 12
    UNMERGEABLE = 13
    HUGEPAGE = 14
    NOHUGEPAGE = 15
    WIPEONFORK = 18
    KEEPONFORK = 19


# The files under /sys/kernel/mm/ksm that can be set, in the newest release; what else is there are counters.
SETTINGS = (
    "run",
    "pages_to_scan",
    "sleep_millisecs",
    "smart_scan",
    "use_zero_pages",
    "max_page_sharing",
    "stable_node_chains_prune_millisecs",
    "merge_across_nodes",
    "advisor_mode",
    "advisor_max_cpu",
    "advisor_min_pages_to_scan",
    "advisor_max_pages_to_scan",
    "advisor_target_scan_time",
)


@dataclass(frozen=True)
class Column:
    """One column: `type` is an integer type's name, "string", or "binary"; see `trace-format.md` for the meaning."""

    name: str
    type: str
    required: bool = True
    nullable: bool = False


SPACES: tuple[Column, ...] = (
    Column("space", "uint32"),
    Column("pid", "int64", nullable=True),
    Column("name", "string", nullable=True),
    Column("kind", "string"),
    Column("domain", "string", required=False, nullable=True),
)
EVENTS: tuple[Column, ...] = (
    Column("time_ns", "int64"),
    Column("kind", "string"),
    Column("space", "uint32", nullable=True),  # null or 0 where the verb has no space: tune, mark
    Column("page", "uint64", nullable=True),
    Column("count", "uint64", nullable=True),
    Column("value", "int64", nullable=True),
    Column("name", "string", required=False, nullable=True),
    Column("node", "uint8", required=False, nullable=True),
)
CONTENTS: tuple[Column, ...] = (
    Column("lcp", "uint16"),
    Column("checksum", "uint32"),
    Column("fingerprint", "binary", required=False, nullable=True),
    Column("data", "binary", required=False, nullable=True),
)
TABLES: dict[str, tuple[Column, ...]] = {
    "spaces": SPACES,
    "events": EVENTS,
    "contents": CONTENTS,
}
SPACE_KINDS = ("vm", "process")
FINGERPRINT_BYTES = 16
