"""What Linux's releases decide differently, as one table: `Features` of a release, and the release of each change.

The engine reads a feature where it decides something; there is one engine for all releases. What changes neither
counters nor the work is not here: jhash2 (to 4.x) and xxhash (from 5.0), the LRU drain, waits for locks, how a merged
page is unshared (a write fault to 6.1, an unshare fault from 6.2), the odd rounding of sleeps of a second and more
(4.14 to 6.17).

Facts are those of `ksm-semantics.md` 11; "seen" and "absent" name the sources that were read there. Updates of a series
carry changes of later ones, so nothing may be inferred from a number alone: UPDATES lists what is known.
"""

from typing import NamedTuple


class Features(NamedTuple):
    """What a release decides; the defaults are the newest release's, 1 is yes."""

    range_walk: int = 1  # the scan skips page tables that are not there; before, it looked at every address
    stable_forgets: int = 1  # an item that leaves a stable node loses its checksum, age and skips
    merge_any_survives: int = 1  # a dropped slot keeps MERGE_ANY, and the next mapping registers the mm again
    fork_counts_afresh: int = 1  # a child's counters begin at 0, its zero pages are added to the global count
    split_maps_zero: int = 1  # zero-filled parts of a huge frame that is split become zero pages
    checksum_first: int = 1  # checksum and zero page come before the stable tree
    chain_takes_any: int = 1  # the first living dup stands for a chain; chains of one dup always collapse
    exec_registers: int = 1  # the new mm of an exec with MERGE_ANY is registered
    pages_scanned_bug: int = 0  # 2: pages_scanned counts wrong; 1: it did, and this update of the series mends it
    advisor: int = 1
    smart_scan: int = 1
    exec_inherits: int = 1  # MERGE_ANY survives an exec
    pages_scanned: int = 1  # there is such a counter
    zero_pages_counted: int = 1  # KSM's zero pages are told from others, counted and unmerged
    prctl: int = 1
    general_profit: int = 1  # there is such a counter
    mm_rmap_items: int = 1  # a counter of the mm
    mm_merging_pages: int = 1  # a counter of the mm
    reuses_in_place: int = 0  # a write to a merged page that only one entry maps makes no copy
    sleep_store_wakes: int = 1  # a changed sleep_millisecs ends the sleep
    splits_same_huge: int = 1  # of two equal pages in one huge frame: it is split, they merge in the next pass
    chains: int = 1  # max_page_sharing
    zero_pages: int = 1  # use_zero_pages
    split_needs_no_pins: int = 1  # a huge frame cannot be split while two of its pages are held
    restarts_on_stale: int = 1  # a search of the stable tree that met a stale node begins again
    numa: int = 1  # merge_across_nodes
    run2_drops_nodes: int = 1  # run=2 removes the stable nodes that nothing maps
    skips_own_node_only: int = 1  # a merged page is passed over only if its item is on its own frame's node
    huge: int = 1  # huge frames


Series = tuple[int, ...]  # (6, 18), or (2, 6, 35)

# Each release that decides something differently, newest first; from it on to the next newer one.
_7_3 = Features()
_6_19 = _7_3._replace(stable_forgets=0)
_6_18 = _6_19._replace(merge_any_survives=0)
_6_12 = _6_18._replace(fork_counts_afresh=0, range_walk=0)
_6_11 = _6_12._replace(split_maps_zero=0)
_6_10 = _6_11._replace(checksum_first=0, chain_takes_any=0)
_6_8 = _6_10._replace(exec_registers=0, pages_scanned_bug=2)
_6_7 = _6_8._replace(advisor=0)
_6_6 = _6_7._replace(smart_scan=0, exec_inherits=0)
_6_4 = _6_6._replace(pages_scanned=0, pages_scanned_bug=0, zero_pages_counted=0)
_6_1 = _6_4._replace(prctl=0, general_profit=0)
_5_19 = _6_1._replace(mm_rmap_items=0)
_5_9 = _5_19._replace(mm_merging_pages=0)
_5_1 = _5_9._replace(reuses_in_place=1)
_5_0 = _5_1._replace(reuses_in_place=0)
_4_17 = _5_0._replace(sleep_store_wakes=0)
_4_13 = _4_17._replace(splits_same_huge=0)
_4_11 = _4_13._replace(chains=0)
_4_5 = _4_11._replace(zero_pages=0)
_4_4 = _4_5._replace(split_needs_no_pins=0)
_3_9 = _4_4._replace(restarts_on_stale=0)
_2_6_38 = _3_9._replace(numa=0, run2_drops_nodes=0, skips_own_node_only=0)
_2_6_33 = _2_6_38._replace(huge=0)

MAINLINE: dict[Series, Features] = {
    (7, 3): _7_3,
    (6, 19): _6_19,
    (6, 18): _6_18,
    (6, 12): _6_12,
    (6, 11): _6_11,
    (6, 10): _6_10,
    (6, 8): _6_8,
    (6, 7): _6_7,
    (6, 6): _6_6,
    (6, 4): _6_4,
    (6, 1): _6_1,
    (5, 19): _5_19,
    (5, 9): _5_9,
    (5, 1): _5_1,
    (5, 0): _5_0,
    (4, 17): _4_17,
    (4, 13): _4_13,
    (4, 11): _4_11,
    (4, 5): _4_5,
    (4, 4): _4_4,
    (3, 9): _3_9,
    (2, 6, 38): _2_6_38,
    (2, 6, 33): _2_6_33,
}

# Updates that brought later changes into a series, oldest first: (number of the update, features from it on).
UPDATES: dict[Series, tuple[tuple[int, Features], ...]] = {
    (6, 18): ((2, _6_19),),
    # Of the range walk only 5.10.249 is known exactly; the others have it at the latest from the number given here.
    (6, 17): ((4, _6_18._replace(range_walk=0)), (13, _6_18)),  # Debian's 6.17.13 still drops MERGE_ANY, seen running
    (6, 12): ((54, _6_18._replace(range_walk=0)), (63, _6_19)),
    (6, 9): ((3, _6_8._replace(exec_registers=1)), (5, _6_8._replace(exec_registers=1, pages_scanned_bug=1))),
    (6, 8): ((12, _6_8._replace(exec_registers=1)),),
    (6, 6): ((34, _6_6._replace(pages_scanned_bug=1)),),
    (6, 1): ((161, _6_1._replace(range_walk=1)),),
    (5, 15): ((200, _5_9._replace(range_walk=1)),),
    (5, 10): ((249, _5_9._replace(range_walk=1)),),
}
NEWEST: Series = (7, 3)
# Kernels that were run and compared with the engine batch by batch: docs/fidelity.md.
COMPARED: tuple[tuple[Series, int], ...] = (
    ((5, 10), 262),
    ((6, 1), 192),
    ((6, 12), 118),
    ((6, 16), 12),
    ((6, 17), 13),
    ((6, 18), 44),
    ((6, 19), 14),
    ((7, 0), 13),
    ((7, 1), 13),
    ((7, 2), 13),
    ((7, 3), 4),
)
_LAST = {(2, 6): 39, (3,): 19, (4,): 20, (5,): 19, (6,): 19, (7,): NEWEST[1]}  # the last series of each number


class Change(NamedTuple):
    """Where a feature came from."""

    since: str  # release
    says: str  # one sentence: what is so from it on, and what was before
    source: str  # subject of the commit, or what was seen where


CHANGES: dict[str, Change] = {
    "stable_forgets": Change(
        "7.3",
        "an item that leaves a stable node forgets its checksum, age and skips, and that visit skips it not; before, "
        "a page copied by a write of the same bytes merges again at once, and skips that were pending still count",
        "seen in 7.3.4, absent in 7.2.13",
    ),
    "merge_any_survives": Change(
        "6.19 (and 6.18.2, 6.12.63)",
        "an mm without mergeable mappings that ksmd drops keeps what prctl set, and its next mapping registers it "
        "again; before, the drop cleared it",
        '"mm/ksm: fix exec/fork inheritance support for prctl"',
    ),
    "range_walk": Change(
        "6.18 (and late updates of 5.10 to 6.17)",
        "the scan passes over page tables that are not there; before, it looked at every address of a mergeable "
        "mapping, which no counter of the kernel shows and CPU time does",
        'f5548c318d65 ("ksm: use range-walk function to jump over holes in scan_get_next_rmap_item")',
    ),
    "fork_counts_afresh": Change(
        "6.18 (and 6.17.4, 6.12.54)",
        "a child's ksm_merging_pages and ksm_rmap_items begin at 0 and its zero pages are added to ksm_zero_pages; "
        "before, it inherited its parent's numbers, and ksm_zero_pages fell too low when its zero pages went",
        '4d6fc29f3634 ("mm/ksm: fix incorrect KSM counter handling in mm_struct during fork")',
    ),
    "split_maps_zero": Change(
        "6.12",
        "when a huge frame is split, its zero-filled parts become mappings of the zero page; before, they became small "
        "frames of zeroes",
        '"mm: remap unused subpages to shared zeropage when splitting isolated thp"',
    ),
    "checksum_first": Change(
        "6.11",
        "the checksum and the zero page come before the search of the stable tree; before, the search came first, so a "
        "new page equal to a merged one joined it at its first visit, also a page of zeroes",
        'd58a361b0350 ("mm/ksm: don\'t waste time searching stable tree for fast changing page")',
    ),
    "chain_takes_any": Change(
        "6.11",
        "a lookup of any kind replaces a chain of one node by that node, full or not; before, only a lookup that "
        "prunes did, and only if the node had room",
        '"mm/ksm: optimize the chain()/chain_prune() interfaces"; absent in 6.10-rc5',
    ),
    "exec_registers": Change(
        "6.10 (and 6.9.3, 6.8.12)",
        "a program run by a process with PR_SET_MEMORY_MERGE is scanned; before, its mappings were flagged but ksmd "
        "did not know of it",
        '3a9e567ca45f ("mm/ksm: fix ksm exec support for prctl")',
    ),
    "pages_scanned_bug": Change(
        "6.10 (and 6.9.5, 6.6.34)",
        "pages_scanned counts the pages processed; before, a batch that ended a full scan added nothing and any other "
        "one page too many",
        '730cdc2c72c6 ("mm/ksm: fix ksm_pages_scanned accounting")',
    ),
    "advisor": Change("6.8", "the scan-time advisor can set pages_to_scan", "absent in 6.6.0, seen in 6.8.12"),
    "smart_scan": Change(
        "6.7",
        "smart scan skips pages that did not merge, and pages_skipped counts them; before, every page was looked at in "
        "every scan",
        '"mm/ksm: add "smart" page scanning mode"; absent in 6.6.0',
    ),
    "exec_inherits": Change(
        "6.7",
        "PR_SET_MEMORY_MERGE survives an exec; before, the exec ended it",
        '3c6f33b7273a ("mm/ksm: support fork/exec for prctl")',
    ),
    "pages_scanned": Change(
        "6.6", "there is a counter pages_scanned", 'b348b5fe2b5f ("mm/ksm: add pages scanned metric")'
    ),
    "zero_pages_counted": Change(
        "6.6",
        "mappings of the zero page that KSM made are counted in ksm_zero_pages and general_profit and are unmerged; "
        "before, nothing told them from others",
        "absent in 6.5.13, seen in 6.6.0",
    ),
    "prctl": Change(
        "6.4",
        "PR_SET_MEMORY_MERGE makes all of a process mergeable; before, there was only madvise",
        "ksm-semantics 11: 6.4+",
    ),
    "general_profit": Change(
        "6.4", "there is a counter general_profit", 'd21077fbc2fc ("mm: add new KSM process and sysfs knobs")'
    ),
    "mm_rmap_items": Change(
        "6.1", "every process has a counter ksm_rmap_items", "ksm-semantics 11: ksm_rmap_items from 6.1"
    ),
    "mm_merging_pages": Change(
        "5.19", "every process has a counter ksm_merging_pages", "ksm-semantics 11: ksm_merging_pages from 5.19"
    ),
    "reuses_in_place": Change(
        "5.9",
        "a write to a merged page always copies it; 5.1 to 5.8 wrote in place where no other entry mapped it",
        '"mm: do_wp_page() simplification"; seen in 5.3.18, absent in 5.10',
    ),
    "sleep_store_wakes": Change(
        "5.0",
        "another value stored in sleep_millisecs ends ksmd's sleep; before, it counted from the next sleep on",
        "absent in 4.15.18, seen in 5.0.21",
    ),
    "splits_same_huge": Change(
        "4.17",
        "two equal pages of one huge frame split it and merge in the next scan; before, from 4.5 on, they stayed as "
        "they were",
        '"mm/ksm: fix interaction with THP"; absent in 4.12.3',
    ),
    "chains": Change(
        "4.13",
        "a merged frame takes max_page_sharing items, then equal pages get another, on a chain; before, any number "
        "joined",
        '"ksm: introduce ksm_max_page_sharing per page deduplication limit"; absent in 4.12.3',
    ),
    "zero_pages": Change(
        "4.11", "use_zero_pages maps the zero page for pages of zeroes", "absent in 4.4.262, seen in 4.12.3"
    ),
    "split_needs_no_pins": Change(
        "4.5",
        "a huge frame of which ksmd holds two pages cannot be split; before, it could, so that they merged at once",
        '"thp: reintroduce split_huge_page()"; by inference, not read',
    ),
    "restarts_on_stale": Change(
        "4.4",
        "a search of the stable tree that meets a node whose frame is gone begins again; before, it found nothing, and "
        "a new merged page was given up where its insertion met one",
        '"ksm: don\'t fail stable tree lookups if walking over stale stable_nodes"; absent in 3.9.6',
    ),
    "numa": Change(
        "3.9",
        "merge_across_nodes=0 keeps trees for each NUMA node; before, nodes did not matter",
        "absent in 2.6.35, seen in 3.9.6",
    ),
    "run2_drops_nodes": Change(
        "3.9",
        "run=2 also removes the stable nodes that nothing maps any more; before, they stayed until a search met them",
        '"ksm: remove old stable nodes more thoroughly"',
    ),
    "skips_own_node_only": Change(
        "3.9",
        "a merged page whose item is on another frame's node is moved to its own; before, it was passed over",
        "seen in 3.9.6; 2.6.35 passes over any",
    ),
    "huge": Change("2.6.38", "there are transparent huge pages, which a merge splits", '"thp: KSM on THP"'),
}


def parse_release(text: str) -> tuple[Series, int | None] | None:
    """The series and the update (None: the series' end) of "6.12", "6.12.54" or "2.6.35.7"; None if it is neither."""
    try:
        numbers = tuple(int(part) for part in text.split("."))
    except ValueError:
        return None
    length = 3 if numbers[:2] == (2, 6) else 2
    if not length <= len(numbers) <= length + 1 or min(numbers) < 0:
        return None
    return numbers[:length], numbers[length] if len(numbers) > length else None


def find_features(series: Series, update: int | None = None) -> Features | None:
    """The features in force in an update of a series (None: its end); None where there is no such, or before 2.6.33."""
    known = [first for first in MAINLINE if first <= series]
    if not known or series[-1] > _LAST.get(series[:-1], -1):
        return None
    found = MAINLINE[max(known)]
    for first, features in UPDATES.get(series, ()):
        if update is None or update >= first:
            found = features
    return found


def releases() -> list[str]:
    """Every release with a row of its own, newest first: ends of series, and updates that count differently."""
    names = []
    for series in sorted({*MAINLINE, *UPDATES}, reverse=True):
        name = ".".join(map(str, series))
        names.append(name)
        if series in UPDATES:
            starts = [0, *(first for first, _ in UPDATES[series][:-1])]
            names += [f"{name}.{first}" for first in reversed(starts)]
    return names


def differences(one: Features, other: Features) -> list[str]:
    """A sentence for each difference, newest first."""
    found = []
    for name, change in CHANGES.items():
        a, b = getattr(one, name), getattr(other, name)
        if name == "pages_scanned_bug":
            a, b = a == 2, b == 2
        if a != b:
            found.append(f"from {change.since}: {change.says} [{change.source}]")
    return found
