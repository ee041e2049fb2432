"""The parameters in `parameters.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PARAMETERS = Path(__file__).with_name("parameters.toml")


@cache
def tables() -> dict[str, dict[str, Any]]:
    """The tables of the file by name."""
    return tomllib.loads(PARAMETERS.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Report:
    """What the report's replays have in common."""

    sample: float
    settings: dict[str, int]
    quota_part: float
    rounds: int
    stop_at: float
    resume_at: float
    rates: tuple[int, ...]
    about_equal: float
    nearly: float


def report_parameters() -> Report:
    """The table `report`."""
    given = dict(tables()["report"])
    return Report(**given | {"rates": tuple(given["rates"])})
