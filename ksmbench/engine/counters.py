"""The columns of `samples`: a counter's place in the engine's row of int64, its name, and what it counts.

The kernel's counters stand under the names of their files in /sys/kernel/mm/ksm and say what the kernel would print
at that moment. The others are the truth that no kernel prints, and the work done. All are cumulative since the start
of the replay or a state at that moment; units are pages unless the name says otherwise.
"""

from enum import IntEnum


class Counter(IntEnum):
    """A column of the engine's counters, int64."""

    FULL_SCANS = 0
    PAGES_SCANNED = 1
    PAGES_SHARED = 2
    PAGES_SHARING = 3
    PAGES_UNSHARED = 4
    PAGES_VOLATILE = 5
    PAGES_SKIPPED = 6
    KSM_ZERO_PAGES = 7
    STABLE_NODE_CHAINS = 8
    STABLE_NODE_DUPS = 9
    GENERAL_PROFIT = 10  # bytes
    PAGES_ANON = 11  # page-table entries that map an anonymous frame
    FRAMES = 12  # distinct such frames
    FRAMES_KSM = 13  # those that are KSM's
    COW_BREAKS = 14  # faults that copied a KSM frame, /proc/vmstat's cow_ksm
    CHECKSUMS = 15
    COMPARISONS = 16  # pairs of pages compared in trees
    COMPARED_BYTES = 17
    MERGES = 18  # page-table entries redirected to another frame
    CPU_NS = 19
    RMAP_ITEMS = 20  # not sampled, but what the kernel derives others from


N_COUNTERS = len(Counter)
N_SAMPLED = Counter.CPU_NS + 1
SAMPLED: tuple[str, ...] = tuple(counter.name.lower() for counter in Counter)[:N_SAMPLED]
KERNEL_COUNTERS: tuple[str, ...] = SAMPLED[: Counter.GENERAL_PROFIT + 1]
SPACE_COUNTERS: tuple[str, ...] = ("ksm_rmap_items", "ksm_merging_pages", "ksm_zero_pages")
