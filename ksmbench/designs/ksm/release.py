"""What a release shows of itself: the settings and counters it has, and its features as the engine's scalars."""

from ksmbench.designs.design import Setting
from ksmbench.designs.ksm import state as at
from ksmbench.designs.ksm.features import Features
from ksmbench.engine import machine
from ksmbench.engine.counters import SAMPLED, SPACE_COUNTERS, WORK_COUNTERS

_MAX = (1 << 32) - 1
_LONG_MAX = (1 << 63) - 1  # of what the kernel keeps in 64 bits; a trace cannot hold more

# Each setting with the feature that brought it ("" for those that always were) and the scalar that holds it.
_SETTINGS: tuple[tuple[str, int, Setting], ...] = (
    ("", at.RUN, Setting("run", 1, 0, 2, "0 stops ksmd and keeps what is merged, 1 runs it, 2 unmerges everything")),
    ("", at.PAGES_TO_SCAN, Setting("pages_to_scan", 100, 0, _MAX, "pages that ksmd processes before it sleeps")),
    ("", at.SLEEP_MILLISECS, Setting("sleep_millisecs", 20, 0, _MAX, "how long ksmd sleeps between two batches")),
    (
        "smart_scan",
        at.SMART_SCAN,
        Setting("smart_scan", 1, 0, 1, "look less and less often at pages that did not merge"),
    ),
    (
        "zero_pages",
        at.USE_ZERO_PAGES,
        Setting("use_zero_pages", 0, 0, 1, "map the kernel's zero page for pages full of zeroes"),
    ),
    (
        "chains",
        at.MAX_PAGE_SHARING,
        Setting("max_page_sharing", 256, 2, 2**31 - 1, "entries that may map one merged frame"),
    ),
    (
        "chains",
        at.PRUNE_MILLISECS,
        Setting("stable_node_chains_prune_millisecs", 2000, 0, _MAX, "how often chains of full frames are cleaned up"),
    ),
    (
        "numa",
        at.MERGE_ACROSS_NODES,
        Setting("merge_across_nodes", 1, 0, 1, "0 merges only pages on the same NUMA node"),
    ),
    (
        "advisor",
        at.ADVISOR_MODE,
        Setting("advisor_mode", 0, 0, 1, "1: the scan-time advisor sets pages_to_scan after every full scan"),
    ),
    (
        "advisor",
        at.ADVISOR_MAX_CPU,
        Setting("advisor_max_cpu", 70, 0, _MAX, "percent of a CPU that the advisor lets ksmd take"),
    ),
    (
        "advisor",
        at.ADVISOR_MIN_PAGES_TO_SCAN,
        Setting("advisor_min_pages_to_scan", 500, 0, _LONG_MAX, "pages_to_scan when the advisor is turned on"),
    ),
    (
        "advisor",
        at.ADVISOR_MAX_PAGES_TO_SCAN,
        Setting("advisor_max_pages_to_scan", 30000, 0, _LONG_MAX, "the most that the advisor sets"),
    ),
    (
        "advisor",
        at.ADVISOR_TARGET_SCAN_TIME,
        Setting("advisor_target_scan_time", 200, 1, _LONG_MAX, "seconds that a full scan should last"),
    ),
)
_BUG = "count pages_scanned as 6.6 to 6.9 did before their fix (not a file of the kernel)"

_FEATURE_SCALARS = {
    "range_walk": at.RANGE_WALK,
    "stable_forgets": at.STABLE_FORGETS,
    "merge_any_survives": at.MERGE_ANY_SURVIVES,
    "fork_counts_afresh": at.FORK_COUNTS_AFRESH,
    "checksum_first": at.CHECKSUM_FIRST,
    "chain_takes_any": at.CHAIN_TAKES_ANY,
    "exec_registers": at.EXEC_REGISTERS,
    "exec_inherits": at.EXEC_INHERITS,
    "prctl": at.HAS_PRCTL,
    "sleep_store_wakes": at.SLEEP_STORE_WAKES,
    "splits_same_huge": at.SPLITS_SAME_HUGE,
    "chains": at.HAS_CHAINS,
    "split_needs_no_pins": at.SPLIT_NEEDS_NO_PINS,
    "restarts_on_stale": at.RESTARTS_ON_STALE,
    "run2_drops_nodes": at.RUN2_DROPS_NODES,
    "skips_own_node_only": at.SKIPS_OWN_NODE_ONLY,
    "reuses_in_place": machine.REUSES_IN_PLACE,
}
_ABSENT_SCALARS = {  # the same where 1 says that a release has it not
    "split_maps_zero": machine.SPLIT_KEEPS_ZEROES,
    "huge": machine.NO_HUGE,
    "zero_pages_counted": machine.ZERO_UNTOLD,
}
_COUNTER_FEATURES = {
    "empty_entries": "range_walk",
    "pages_scanned": "pages_scanned",
    "pages_skipped": "smart_scan",
    "ksm_zero_pages": "zero_pages_counted",
    "stable_node_chains": "chains",
    "stable_node_dups": "chains",
    "general_profit": "general_profit",
}
_SPACE_COUNTER_FEATURES = {
    "ksm_rmap_items": "mm_rmap_items",
    "ksm_merging_pages": "mm_merging_pages",
    "ksm_zero_pages": "zero_pages_counted",
}


def settings_of(features: Features) -> tuple[Setting, ...]:
    """The settings of a release, with its defaults."""
    found = [setting for feature, _, setting in _SETTINGS if not feature or getattr(features, feature)]
    if features.pages_scanned_bug:
        found.append(Setting("pages_scanned_bug", int(features.pages_scanned_bug == 2), 0, 1, _BUG))
    return tuple(found)


def files_of(features: Features) -> dict[str, int]:
    """The scalar of each setting that is a file under /sys/kernel/mm/ksm, which a trace may store to."""
    return {setting.name: scalar for feature, scalar, setting in _SETTINGS if not feature or getattr(features, feature)}


def counters_of(features: Features) -> tuple[str, ...]:
    """The columns of `samples` that a release has."""
    return tuple(
        name
        for name in (*SAMPLED, *WORK_COUNTERS)
        if (name not in _COUNTER_FEATURES or getattr(features, _COUNTER_FEATURES[name]))
        and not (name == "empty_addresses" and features.range_walk)  # a release has one walk or the other
    )


def space_counters_of(features: Features) -> tuple[str, ...]:
    """The columns of `spaces` that a release has."""
    return tuple(name for name in SPACE_COUNTERS if getattr(features, _SPACE_COUNTER_FEATURES[name]))


def load_release(kept: machine.Machine, features: Features, settings: dict[str, int]) -> None:
    """Put the release's features and the settings, as they begin, into the machine's scalars."""
    m = kept.m
    for name, scalar in _FEATURE_SCALARS.items():
        m[scalar] = getattr(features, name)
    for name, scalar in _ABSENT_SCALARS.items():
        m[scalar] = not getattr(features, name)
    for _, scalar, setting in _SETTINGS:
        m[scalar] = settings.get(setting.name, 0)
    m[at.PAGES_SCANNED_BUG] = settings.get("pages_scanned_bug", 0)
    m[at.MERGE_ACROSS_NODES] = settings.get("merge_across_nodes", 1)
    if m[at.ADVISOR_MODE]:
        m[at.PAGES_TO_SCAN] = m[at.ADVISOR_MIN_PAGES_TO_SCAN] & _MAX
