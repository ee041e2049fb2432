"""What ksmd's work costs in CPU time, so that virtual time passes as it does on a host.

A profile is a few constants, each the price of one unit that the engine counts (`docs/cost.md`). A step in a tree costs
more the deeper it is: the nodes near the root stay in the processor's caches, those below WARM_LEVELS do not. The
default was measured by `ksmbench calibrate` on a development machine.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.engine.descents import LONGEST
from ksmbench.engine.pricing import COLD_LEVELS, UNITS
from ksmbench.errors import UsageError

FORMAT = 2  # of profile files; those without a format, the first, have one price for every comparison
_MAX_PRICE = 10_000_000  # ns; what a batch costs has to fit an int64
_MAX_BYTES = 1 << 20  # of a profile file
_MAX_LEVELS = 8


@dataclass(frozen=True)
class CostProfile:
    """Nanoseconds of ksmd's CPU per unit of work, and the timer frequency that its sleeps are rounded to."""

    name: str
    source: str
    hz: int  # 1/s, jiffies
    batch_ns: float  # waking up and looking around
    scanned_ns: float  # a page returned to be processed
    skipped_ns: float  # a page passed over by smart scan; an address without a page, where each is looked at alone
    checksum_ns: float
    merge_ns: float  # a page-table entry redirected
    compared_kib_ns: float  # 1,024 bytes compared
    cold_ns: float = 0.0  # more for a node met for the first time in a batch, where others used the caches meanwhile
    cold_share: float = 0.3  # how much of the caches others take while ksmd sleeps, 0 to 1: see docs/cost.md
    long_comparison_ns: float = 0.0  # more for a comparison that reads beyond the first 64 bytes
    # A step in a tree, before any byte: the first number is its price everywhere, the others are added for those
    # deeper than the first, the second ... of warm_levels.
    stable_comparison_ns: tuple[float, ...] = (0.0,)
    unstable_comparison_ns: tuple[float, ...] = (0.0,)
    warm_levels: tuple[float, ...] = ()
    stable_node_ns: float = 0.0  # a page made KSM's in place, with a node for it
    stale_node_ns: float = 0.0  # a node without a page pruned
    item_made_ns: float = 0.0
    item_freed_ns: float = 0.0
    empty_entry_ns: float = 0.0  # a page-table entry without a page that a range walk passes
    measured: dict[str, Any] = field(default_factory=dict, compare=False)  # machine, date, errors: for people, no price

    def prices(self) -> dict[str, tuple[float, ...]]:
        """Every price by its name; most are one number."""
        found = {name: getattr(self, name) for name in _PRICES}
        return {name: price if isinstance(price, tuple) else (price,) for name, price in found.items()}

    def weights(self) -> npt.NDArray[np.int64]:
        """The prices in the order of `ksmbench.engine.pricing`, in its units."""
        step = self.skipped_ns
        counted = (
            *(self.scanned_ns, step, step, step, step, self.checksum_ns),
            *(self.merge_ns, self.stable_node_ns, self.stale_node_ns, self.item_made_ns, self.item_freed_ns),
            *(self.empty_entry_ns, step),
        )
        trees = [descent_ns(getattr(self, name), self.warm_levels) for name in _TREES]
        ns = np.concatenate(
            [
                [
                    self.batch_ns,
                    *counted,
                    self.compared_kib_ns,
                    self.long_comparison_ns,
                    self.cold_ns * self.cold_share,
                    0.0,
                ],
                *trees,
            ]
        )
        weights = np.asarray(np.rint(ns * UNITS), np.int64)
        weights[COLD_LEVELS] = self.cold_levels()
        return weights

    def cold_levels(self) -> int:
        """How many levels of a tree the caches hold when nobody else uses them."""
        return int(max(self.warm_levels, default=0.0))

    def as_dict(self) -> dict[str, Any]:
        """For profile files."""
        return {"format": FORMAT} | asdict(self)

    def identity(self) -> dict[str, Any]:
        """For provenance: `name`, `source`, a `digest` of all prices, and how far it was off where that is known."""
        prices = {name: value for name, value in self.as_dict().items() if name not in ("name", "source", "measured")}
        digest = hashlib.blake2b(json.dumps(prices, sort_keys=True).encode(), digest_size=8).hexdigest()
        error = self.measured.get("left_out_error_percent")
        return {"name": self.name, "source": self.source, "digest": digest} | (
            {} if error is None else {"left_out_error_percent": error}
        )


_PRICES = tuple(item.name for item in fields(CostProfile) if item.name.endswith("_ns"))
_TREES = ("stable_comparison_ns", "unstable_comparison_ns")


def descent_ns(prices: tuple[float, ...], warm_levels: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """What a search of 0, 1, 2 ... LONGEST - 1 comparisons costs."""
    comparisons = np.arange(LONGEST, dtype=float)
    total = prices[0] * comparisons
    for price, level in zip(prices[1:], warm_levels, strict=True):
        total = total + price * np.maximum(0.0, comparisons - level)
    return total


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(data: dict[str, Any], name: str, most: float) -> float:
    value = data[name]
    if not _is_number(value) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a number from 0 to {most:,}")
    return float(value)


def _numbers(data: dict[str, Any], name: str, most: float) -> tuple[float, ...]:
    values = data[name]
    if not isinstance(values, list) or len(values) > _MAX_LEVELS:
        raise ValueError(f"{name} must be a list of at most {_MAX_LEVELS} numbers")
    if not all(_is_number(value) and 0 <= value <= most for value in values):
        raise ValueError(f"{name}: its numbers must be from 0 to {most:,}")
    return tuple(float(value) for value in values)


def _from_first_format(data: dict[str, Any]) -> dict[str, Any]:
    # One price for every comparison, and nothing finer.
    old = dict(data)
    comparison = old.pop("comparison_ns")
    return old | {"warm_levels": [], **{name: [comparison] for name in _TREES}}


def parse_profile(data: Any) -> CostProfile:
    """The profile that a JSON document says; raises `ValueError` with what is wrong."""
    if not isinstance(data, dict):
        raise ValueError("it is no object")
    if data.get("format", 1) == 1:
        if "comparison_ns" not in data:
            raise ValueError("comparison_ns is missing")
        data = _from_first_format(data)
    elif data["format"] != FORMAT:
        raise ValueError(f"format {data['format']!r} is not known here; 1 and {FORMAT} are")
    required = {item.name for item in fields(CostProfile)} - {"measured", "empty_entry_ns", "cold_ns", "cold_share"}
    if data.get("format", 1) == 1:
        required -= {"long_comparison_ns", "stable_node_ns", "stale_node_ns"}
        required -= {"item_made_ns", "item_freed_ns"}
    missing = sorted(required - data.keys())
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    hz, measured = data["hz"], data.get("measured", {})
    if not isinstance(hz, int) or isinstance(hz, bool) or not 1 <= hz <= 10_000:
        raise ValueError("hz must be an integer from 1 to 10000")
    if not isinstance(data["name"], str) or not isinstance(data["source"], str) or not isinstance(measured, dict):
        raise ValueError("name and source must be texts, measured an object")
    share = _number(data, "cold_share", 1) if "cold_share" in data else CostProfile.cold_share
    single = {name: _number(data, name, _MAX_PRICE) for name in _PRICES if name not in _TREES and name in data}
    stable, unstable = (_numbers(data, name, _MAX_PRICE) for name in _TREES)
    levels = _numbers(data, "warm_levels", LONGEST)
    if list(levels) != sorted(levels) or len(stable) != 1 + len(levels) or len(unstable) != 1 + len(levels):
        raise ValueError("warm_levels must rise, and each tree have a price more than there are of them")
    if single["batch_ns"] < 1:
        raise ValueError("batch_ns must be at least 1")
    known: dict[str, Any] = {name: data[name] for name in ("name", "source", "hz")} | single
    return CostProfile(
        **known,
        stable_comparison_ns=stable,
        unstable_comparison_ns=unstable,
        warm_levels=levels,
        cold_share=share,
        measured=measured,
    )


def read_profile(path: Path) -> CostProfile:
    """A profile's file; raises `UsageError` with a sentence where it is none."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES:,} bytes")
        return parse_profile(json.loads(text))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a cost profile: {error}") from None


DEFAULT = read_profile(Path(__file__).parent / "profiles" / "epyc-guest.json")
PROFILES = {DEFAULT.name: DEFAULT}


def find_profile(cost: str | CostProfile | None) -> CostProfile | None:
    """The profile that `cost` means: None is the default, "none" is no cost at all, else a name or a JSON file."""
    if isinstance(cost, CostProfile):
        return cost
    if cost is None or cost == "default":
        return DEFAULT
    if cost == "none":
        return None
    if cost in PROFILES:
        return PROFILES[cost]
    if Path(cost).is_file():
        return read_profile(Path(cost))
    raise UsageError(f'cost "{cost}": not "none", a file, or a profile; profiles: {", ".join(PROFILES)}')
