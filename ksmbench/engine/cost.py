"""What ksmd's work costs in CPU time, so that virtual time passes as it does on a host.

A profile is a few constants, each the price of one unit that the engine counts. The default was measured with
`benchmarks/cost_profile.py` on a development machine, where it explains 92 to 104 % of ksmd's time in seven workloads.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.errors import UsageError


@dataclass(frozen=True)
class CostProfile:
    """Nanoseconds of ksmd's CPU per unit of work, and the timer frequency that its sleeps are rounded to."""

    name: str
    source: str
    hz: int  # 1/s, jiffies
    batch_ns: float  # waking up and looking around
    scanned_ns: float  # a page returned to be processed
    skipped_ns: float  # a page passed over by smart scan
    checksum_ns: float
    comparison_ns: float  # a step in a tree, before any byte
    compared_kib_ns: float  # 1,024 bytes compared
    merge_ns: float  # a page-table entry redirected

    def weights(self) -> npt.NDArray[np.float64]:
        """The prices in the order of `ksmbench.engine.clock.PER_BATCH` and following."""
        return np.array(
            [
                self.batch_ns,
                self.scanned_ns,
                self.skipped_ns,
                self.checksum_ns,
                self.comparison_ns,
                self.compared_kib_ns,
                self.merge_ns,
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """For provenance and profile files."""
        return asdict(self)


_MAX_PRICE = 10_000_000  # ns; what a batch costs has to fit an int64

DEFAULT = CostProfile(
    name="epyc-guest",
    source="python -m benchmarks.cost_profile on 2 cores of an AMD EPYC guest, Linux 6.18.44, 2026-11-24",
    hz=250,
    batch_ns=17000.0,
    scanned_ns=420.0,
    skipped_ns=210.0,
    checksum_ns=520.0,
    comparison_ns=300.0,
    compared_kib_ns=79.0,
    merge_ns=300.0,
)
PROFILES = {DEFAULT.name: DEFAULT}


def _read(path: Path) -> CostProfile:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name: field.type for field in fields(CostProfile)}
        profile = CostProfile(**{name: data[name] for name in known})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: not a cost profile ({type(error).__name__}: {error})") from None
    numbers = profile.weights()
    if not (
        np.isfinite(numbers).all() and (numbers >= 0).all() and (numbers <= _MAX_PRICE).all() and profile.batch_ns >= 1
    ):
        raise UsageError(f"{path}: prices are nanoseconds from 0 to {_MAX_PRICE:,}, and batch_ns at least 1")
    if not isinstance(profile.hz, int) or not 1 <= profile.hz <= 10_000:
        raise UsageError(f"{path}: hz must be an integer from 1 to 10000")
    return profile


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
        return _read(Path(cost))
    raise UsageError(f'cost "{cost}": not "none", a file, or a profile; profiles: {", ".join(PROFILES)}')
