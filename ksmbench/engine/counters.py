"""The columns of `samples`: a counter's place in the engine's row of int64, its name, and what it counts.

The kernel's counters stand under the names of their files in /sys/kernel/mm/ksm and say what the kernel would print
at that moment. The others are the truth that no kernel prints, and the work done. All are cumulative since the start
of the replay or a state at that moment; units are pages unless the name says otherwise.

Every design's samples have the columns SAMPLED, null where it has no such counter, and of REVIEW_COUNTERS and
WORK_COUNTERS those that it has: the first are about what a design loses sight of, as the review of 2009 asked, the
others are the rest of the work that a cost profile prices.
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
    LOST_PTES = 20  # page-table entries that map a merged frame which no structure of the design tracks
    LOST_BY_FORK = 21  # of these, by what lost them
    LOST_BY_MOVE = 22
    LOST_BY_UNMAP = 23
    LOST_BY_UNMERGE = 24
    KERNEL_PAGES_COUNTED = 25  # merged frames as the quota max_kernel_pages counts them; the truth is FRAMES_KSM
    DEAD_PAGES = 26  # frames that only exited processes hold
    STEPS_ABSENT = 27  # steps of the scan at addresses where nothing is
    STEPS_DEAD = 28  # at those of exited processes
    STEPS_IDLE = 29  # at address spaces with nothing mergeable
    WRPROTECT_PTES = 30  # page-table entries visited to write-protect a page
    STABLE_COMPARISONS = 31  # of the comparisons, those in stable trees
    LONG_COMPARISONS = 32  # those that read beyond a page's first 64 bytes
    RMAP_ITEMS_MADE = 33
    RMAP_ITEMS_FREED = 34
    STABLE_NODES_MADE = 35  # each write-protects the page that becomes KSM's in place
    STALE_NODES_PRUNED = 36
    COMPARING_NS = 37  # of CPU_NS, what searches in trees and the bytes they read took
    EMPTY_ENTRIES = 38  # page-table entries without a page that the range walk of 6.18 passed in mergeable memory
    EMPTY_ADDRESSES = 39  # the same in addresses, which releases before that look at one by one
    RMAP_ITEMS = 40  # not sampled, but what the kernel derives others from


N_COUNTERS = len(Counter)
N_SAMPLED = Counter.EMPTY_ADDRESSES + 1
ROW_COUNTERS: tuple[str, ...] = tuple(counter.name.lower() for counter in Counter)[:N_SAMPLED]  # the engine's rows
SAMPLED: tuple[str, ...] = ROW_COUNTERS[: Counter.LOST_PTES]
REVIEW_COUNTERS: tuple[str, ...] = ROW_COUNTERS[Counter.LOST_PTES : Counter.STABLE_COMPARISONS]
WORK_COUNTERS: tuple[str, ...] = ROW_COUNTERS[Counter.STABLE_COMPARISONS :]
SPACE_COUNTERS: tuple[str, ...] = ("ksm_rmap_items", "ksm_merging_pages", "ksm_zero_pages")
