"""The settings that a search looks at, in three steps; how many replays that takes is known before.

First the pace of ksmd, coarsely: pages_to_scan and sleep_millisecs in steps of two to three, for these two decide most
of what it saves and costs. Then, at the best paces so far, every combination of the settings that a release has beside
them, and the advisor in their place. Then finer steps of the pace around the best.
"""

import itertools
from collections.abc import Sequence

from ksmbench.designs.design import Design, Value
from ksmbench.specs import Spec

PAGES = (50, 100, 250, 600, 1500, 4000)
SLEEPS = (10, 20, 50, 200)
BESIDE: dict[str, tuple[int, ...]] = {"smart_scan": (1, 0), "max_page_sharing": (256, 1024), "use_zero_pages": (0, 1)}
SCAN_TIMES = (30, 100, 200, 600)  # of the advisor, seconds
N_PACES = 2  # that the settings beside them are tried at
FINER = (0.5, 0.7, 0.85, 1.2, 1.4, 2.0)  # times the best pages_to_scan
N_BEST = 2  # that finer steps are made from
ADVISOR = ("advisor_mode", "advisor_target_scan_time", "advisor_max_cpu")

Settings = dict[str, Value]


def searched(design: Design) -> list[str]:
    """The settings of `design` that a search varies."""
    has = {setting.name for setting in design.settings}
    names = ("pages_to_scan", "sleep_millisecs", *BESIDE, *ADVISOR)
    return [name for name in names if name in has]


def _spec(design: Design, fixed: Settings, settings: Settings) -> Spec:
    return Spec(design.name, tuple((fixed | settings).items()))


def coarse(design: Design, fixed: Settings) -> list[Spec]:
    """Step one."""
    pages = [fixed["pages_to_scan"]] if "pages_to_scan" in fixed else PAGES
    sleeps = [fixed["sleep_millisecs"]] if "sleep_millisecs" in fixed else SLEEPS
    return [
        _spec(design, fixed, {"pages_to_scan": page, "sleep_millisecs": sleep})
        for page, sleep in itertools.product(pages, sleeps)
    ]


def _beside(design: Design, fixed: Settings) -> dict[str, tuple[int, ...]]:
    return {name: values for name, values in BESIDE.items() if name in searched(design) and name not in fixed}


def _advised(design: Design, fixed: Settings, max_cpu: float | None) -> list[Settings]:
    if "advisor_mode" not in searched(design) or "pages_to_scan" in fixed or "advisor_mode" in fixed:
        return []
    percent = 70 if max_cpu is None else max(1, round(100 * max_cpu))
    return [
        {"advisor_mode": 1, "advisor_target_scan_time": seconds, "advisor_max_cpu": percent} for seconds in SCAN_TIMES
    ]


def beside(design: Design, fixed: Settings, best: Sequence[Settings], max_cpu: float | None) -> list[Spec]:
    """Step two, from the `best` of step one."""
    names = _beside(design, fixed)
    found = [
        _spec(design, fixed, _pace(settings) | dict(zip(names, combination, strict=True)))
        for settings in best[:N_PACES]
        for combination in itertools.product(*names.values())
    ]
    return found + [_spec(design, fixed, settings) for settings in _advised(design, fixed, max_cpu)]


def _pace(settings: Settings) -> Settings:
    return {name: settings[name] for name in ("pages_to_scan", "sleep_millisecs") if name in settings}


def finer(design: Design, fixed: Settings, best: Sequence[Settings]) -> list[Spec]:
    """Step three, from the `best` of all so far that the advisor does not set."""
    found = []
    for settings in best[:N_BEST]:
        if "pages_to_scan" in fixed:
            continue
        page = int(settings["pages_to_scan"])
        near = dict.fromkeys(max(1, round(page * factor)) for factor in FINER)
        found += [_spec(design, fixed, settings | {"pages_to_scan": pages}) for pages in near if pages != page]
    return found


def most(design: Design, fixed: Settings, max_cpu: float | None) -> int:
    """How many replays a search makes at most, the bounds and the default among them."""
    n_beside = 1
    for values in _beside(design, fixed).values():
        n_beside *= len(values)
    advised = len(_advised(design, fixed, max_cpu))
    n_finer = 0 if "pages_to_scan" in fixed else N_BEST * len(FINER)
    return 3 + len(coarse(design, fixed)) + N_PACES * n_beside + advised + n_finer
