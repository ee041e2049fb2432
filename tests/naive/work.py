"""The work that a cost profile prices, as the twins count it, and its price."""

from dataclasses import dataclass, field

from ksmbench.engine.cost import CostProfile

# Every price is another, so that one that is charged for the wrong work is noticed.
EVERY_PRICE = CostProfile(
    name="every price",
    source="made up",
    hz=250,
    batch_ns=9_000.3,
    scanned_ns=501.7,
    skipped_ns=307.1,
    checksum_ns=911.9,
    merge_ns=1_513.3,
    compared_kib_ns=101.1,
    cold_ns=703.9,
    cold_share=0.7,
    long_comparison_ns=127.3,
    stable_comparison_ns=(83.3, 241.1, 157.7),
    unstable_comparison_ns=(151.9, 509.3, 307.7),
    warm_levels=(1.4, 2.7),
    stable_node_ns=601.3,
    stale_node_ns=89.9,
    item_made_ns=97.1,
    item_freed_ns=149.3,
    empty_entry_ns=3.3,
)


@dataclass
class Search:
    """A descent in the tree of this kind, "stable" or "unstable"."""

    tree: str
    comparisons: int = 0


@dataclass
class Work:
    """What was done so far."""

    searches: list[Search] = field(default_factory=list)
    comparisons: int = 0
    long_comparisons: int = 0
    compared_bytes: int = 0
    checksums: int = 0
    merges: int = 0
    nodes_made: int = 0
    nodes_pruned: int = 0
    items_made: int = 0
    items_freed: int = 0
    empty_entries: int = 0
    empty_addresses: int = 0

    def begin_search(self, tree: str) -> Search:
        """One more descent."""
        self.searches.append(Search(tree))
        return self.searches[-1]

    def compare(self, search: Search, n_bytes: int) -> None:
        """One more comparison in it, which reads so many bytes."""
        search.comparisons += 1
        self.comparisons += 1
        self.long_comparisons += n_bytes > 64
        self.compared_bytes += n_bytes

    def counters(self) -> dict[str, int]:
        """Under their names in `samples`."""
        return {
            "checksums": self.checksums,
            "comparisons": self.comparisons,
            "compared_bytes": self.compared_bytes,
            "merges": self.merges,
            "stable_comparisons": sum(search.comparisons for search in self.searches if search.tree == "stable"),
            "long_comparisons": self.long_comparisons,
            "rmap_items_made": self.items_made,
            "rmap_items_freed": self.items_freed,
            "stable_nodes_made": self.nodes_made,
            "stale_nodes_pruned": self.nodes_pruned,
            "empty_entries": self.empty_entries,
            "empty_addresses": self.empty_addresses,
        }


class Bill:
    """What is owed for the work from here on; `scanned` and `passed` are counted by the twin: pages, other steps."""

    def __init__(self, work: Work, scanned: int, passed: int) -> None:
        self.work = work
        self.before = work.counters()
        self.searches = len(work.searches)
        self.scanned, self.passed = scanned, passed

    def ns(self, cost: CostProfile, scanned: int, passed: int) -> int:
        """The price of a batch, in steps of 1/16 ns."""
        done = {name: now - self.before[name] for name, now in self.work.counters().items()}
        total = round(16 * cost.batch_ns)
        for price, units in (
            (cost.scanned_ns, scanned - self.scanned),
            (cost.skipped_ns, passed - self.passed),
            (cost.checksum_ns, done["checksums"]),
            (cost.long_comparison_ns, done["long_comparisons"]),
            (cost.merge_ns, done["merges"]),
            (cost.stable_node_ns, done["stable_nodes_made"]),
            (cost.stale_node_ns, done["stale_nodes_pruned"]),
            (cost.item_made_ns, done["rmap_items_made"]),
            (cost.item_freed_ns, done["rmap_items_freed"]),
            (cost.empty_entry_ns, done["empty_entries"]),
            (cost.skipped_ns, done["empty_addresses"]),
        ):
            total += round(16 * price) * units
        for search in self.work.searches[self.searches :]:
            prices = cost.stable_comparison_ns if search.tree == "stable" else cost.unstable_comparison_ns
            ns = prices[0] * search.comparisons
            for price, level in zip(prices[1:], cost.warm_levels, strict=True):
                ns += price * max(0.0, search.comparisons - level)
            total += round(16 * ns)
        for tree in ("stable", "unstable"):
            lengths = [s.comparisons for s in self.work.searches[self.searches :] if s.tree == tree]
            depth = sum(lengths) // len(lengths) if lengths else 0
            for level in range(min(depth, int(cost.warm_levels[-1]))):
                total += round(16 * cost.cold_ns * cost.cold_share) * min(len(lengths), 2**level)
        n_bytes, kib = done["compared_bytes"], round(16 * cost.compared_kib_ns)
        total += kib * (n_bytes // 1024) + kib * (n_bytes % 1024) // 1024
        return total // 16
