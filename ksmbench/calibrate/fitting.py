"""Prices out of measurements: non-negative, robust, with an estimate of their errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ksmbench.calibrate.measuring import Work
from ksmbench.engine.counters import Counter
from ksmbench.engine.descents import LONGEST, STABLE, UNSTABLE, cold_nodes

Floats = npt.NDArray[np.float64]
Term = tuple[str, int]  # a field of CostProfile, and which of its numbers

_COUNTED: dict[str, Counter] = {
    "scanned_ns": Counter.PAGES_SCANNED,
    "skipped_ns": Counter.PAGES_SKIPPED,
    "checksum_ns": Counter.CHECKSUMS,
    "long_comparison_ns": Counter.LONG_COMPARISONS,
    "merge_ns": Counter.MERGES,
    "stable_node_ns": Counter.STABLE_NODES_MADE,
    "stale_node_ns": Counter.STALE_NODES_PRUNED,
    "item_made_ns": Counter.RMAP_ITEMS_MADE,
    "item_freed_ns": Counter.RMAP_ITEMS_FREED,
    "empty_entry_ns": Counter.EMPTY_ENTRIES,
}
# What a step in a stable tree waits for where the caches do not hold it, against one in an unstable tree: the node, its
# frame and the page against the item, its page table entry, the frame and the page. The fit holds the two together.
STABLE_MISSES = 0.75
_SHORT_NS = 20_000.0  # batches shorter than this count by their absolute error
_HUBER = 0.15  # relative error from which a batch counts less
_REWEIGHTINGS = 12


@dataclass(frozen=True)
class Measurement:
    """A load over several rounds of the same batches."""

    name: str
    work: Work
    rounds_ns: Floats  # [n_rounds, n_batches]
    is_cold: bool = False  # whether others used the caches before each batch

    @property
    def spent_ns(self) -> Floats:
        """Of each batch, the median of the rounds."""
        return np.asarray(np.median(self.rounds_ns, axis=0), float)


@dataclass(frozen=True)
class Fit:
    """Prices, by term."""

    terms: list[Term]
    prices: Floats

    def predict(self, work: Work, warm_levels: Sequence[float], is_cold: bool = False) -> float:
        """Nanoseconds for all of this work; `is_cold`: if others use the caches between batches."""
        columns = regressors(work, warm_levels, is_cold)
        return float(sum(columns[term].sum() * price for term, price in zip(self.terms, self.prices, strict=True)))


def regressors(work: Work, warm_levels: Sequence[float], is_cold: bool = False) -> dict[Term, Floats]:
    """Units of work per batch, by what they are a price of."""
    columns: dict[Term, Floats] = {("batch_ns", 0): np.ones(len(work))}
    columns |= {(name, 0): work[counter] for name, counter in _COUNTED.items()}
    columns["compared_kib_ns", 0] = work[Counter.COMPARED_BYTES] / 1024
    cold = cold_nodes(work.descents, int(max(warm_levels, default=0.0)))
    columns["cold_ns", 0] = cold.astype(float) if is_cold else np.zeros(len(work))
    comparisons = np.arange(LONGEST, dtype=float)
    stable, unstable = (work.descents[:, int(tree)].astype(float) for tree in (STABLE, UNSTABLE))
    columns["stable_comparison_ns", 0] = stable @ comparisons
    columns["unstable_comparison_ns", 0] = unstable @ comparisons
    for i, level in enumerate(warm_levels, 1):
        beyond = np.maximum(0.0, comparisons - level)
        columns["unstable_comparison_ns", i] = unstable @ beyond + STABLE_MISSES * (stable @ beyond)
    return columns


def nnls(a: Floats, b: Floats) -> Floats:
    """The x >= 0 with the least squares of a x - b (Lawson and Hanson's active sets)."""
    n = a.shape[1]
    free = np.zeros(n, bool)
    x = np.zeros(n)
    gradient = a.T @ b
    enough = 1e-10 * max(1.0, float(np.abs(gradient).max(initial=0.0)))
    for _ in range(10 * n):
        candidates = np.where(free, -np.inf, gradient)
        if candidates.max(initial=-np.inf) <= enough:
            break
        free[int(np.argmax(candidates))] = True
        while True:
            trial = np.zeros(n)
            trial[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
            low = free & (trial <= 0)
            if not low.any():
                break
            step = float(np.min(x[low] / (x[low] - trial[low])))
            x = x + step * (trial - x)
            free &= x > 1e-12
        x = trial
        gradient = a.T @ (b - a @ x)
    return x


def fit_prices(parts: Sequence[tuple[Work, Floats, bool]], warm_levels: Sequence[float]) -> Fit:
    """The prices that explain the time of these loads best; each load counts alike, and batches by relative error.

    `parts` are loads: the work of their batches, the time of each, and whether they began with cold caches.
    """
    columns = [regressors(work, warm_levels, is_cold) for work, _, is_cold in parts]
    terms = list(columns[0])
    a = np.vstack([np.column_stack([own[term] for term in terms]) for own in columns])
    b = np.concatenate([spent for _, spent, _ in parts])
    scale = np.maximum(b, _SHORT_NS)
    weight = np.concatenate([np.full(len(spent), len(spent) ** -0.5) for _, spent, _ in parts]) / scale
    unit = np.maximum(np.abs(a).max(axis=0), 1e-9)
    trust = np.ones(len(b))
    x = np.zeros(len(terms))
    for _ in range(_REWEIGHTINGS):
        w = weight * np.sqrt(trust)
        x = nnls(a * w[:, None] / unit, b * w) / unit
        error = np.abs(a @ x - b) / scale
        trust = np.minimum(1.0, _HUBER / np.maximum(error, 1e-12))
    return Fit(terms, x)


def fit_measurements(measured: Sequence[Measurement], warm_levels: Sequence[float]) -> Fit:
    """The prices by the medians of all rounds."""
    return fit_prices([(one.work, one.spent_ns, one.is_cold) for one in measured], warm_levels)


def errors_left_out(measured: Sequence[Measurement], warm_levels: Sequence[float]) -> dict[str, float]:
    """Of each load, the relative error of what the others predict for it."""
    found = {}
    for left_out in measured:
        fit = fit_measurements([one for one in measured if one is not left_out], warm_levels)
        predicted = fit.predict(left_out.work, warm_levels, left_out.is_cold)
        found[left_out.name] = predicted / float(left_out.spent_ns.sum()) - 1
    return found


def price_spread(
    measured: Sequence[Measurement], warm_levels: Sequence[float], samples: int = 20, seed: int = 1
) -> Floats:
    """The standard deviation of every price over bootstrap samples of the rounds; zeros where there was one round."""
    rng = np.random.default_rng(seed)
    n_rounds = len(measured[0].rounds_ns)
    found = []
    for _ in range(samples if n_rounds > 1 else 1):
        chosen = rng.integers(0, n_rounds, n_rounds)
        parts = [
            (one.work, np.asarray(np.median(one.rounds_ns[chosen], axis=0), float), one.is_cold) for one in measured
        ]
        found.append(fit_prices(parts, warm_levels).prices)
    return np.asarray(np.std(found, axis=0), float)
