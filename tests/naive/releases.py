"""Wild scenarios for any release: several NUMA nodes, the advisor, and only the settings that the release has."""

from dataclasses import replace

import numpy as np

from ksmbench import designs
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind
from ksmbench.validate.making import BATCH_NS, Row, make_contents, make_trace
from tests.naive.scenarios import wild_scenario
from tests.naive.wild_huge import wild_huge_scenario

SLOWLY = 100  # times as long, for an advisor that counts in seconds
_N_NODES = 3
_N_SPACES = 5
_FIRST = 0x1000
_PAGES = 32


def fitting(name: str, settings: dict[str, int]) -> dict[str, int]:
    """Of the settings those that the design has."""
    known = {setting.name for setting in designs.find(name).settings}
    return {setting: value for setting, value in settings.items() if setting in known}


def restless_scenario(seed: int) -> tuple[Trace, dict[str, int]]:
    """Merged frames that are left, move between three NUMA nodes and come again: stale, parked and full nodes."""
    rng = np.random.default_rng([seed, 3])

    def pick(*values: int) -> int:
        return int(rng.choice(values))

    contents = make_contents(rng, int(rng.integers(3, 18)))
    settings = {
        "pages_to_scan": pick(3, 10, 30, 1000),
        "smart_scan": pick(0, 0, 1),
        "use_zero_pages": pick(0, 1),
        "max_page_sharing": pick(2, 3, 256),
        "stable_node_chains_prune_millisecs": pick(0, 100, 4294967295),
        "merge_across_nodes": pick(0, 0, 0, 1),
    }
    rows: list[Row] = []
    alive = [0, 1]
    for space in alive:
        rows.append((0, Kind.MAP, space, _FIRST, _PAGES, 0))
        rows.append((0, Kind.MADVISE, space, _FIRST, _PAGES, Advice.MERGEABLE))
        rows += [
            (0, Kind.WRITE, space, _FIRST + 2 * k, 2, int(rng.integers(len(contents.lcp)))) for k in range(_PAGES // 2)
        ]
    n_spaces = 2
    for batch in range(1, 70):
        for _ in range(int(rng.geometric(0.5)) if rng.random() < 0.8 else 0):
            time, space, roll = batch * BATCH_NS, pick(*alive), rng.random()
            page, count = _FIRST + int(rng.integers(_PAGES - 8)), pick(1, 2, 8)
            if roll < 0.25:
                rows.append((time, Kind.MIGRATE, space, page, count, pick(*range(_N_NODES))))
            elif roll < 0.6:
                rows.append((time, Kind.WRITE, space, page, count, int(rng.integers(len(contents.lcp)))))
            elif roll < 0.75:
                rows.append((time, Kind.TOUCH, space, page, count, 0))
            elif roll < 0.95:
                rows.append((time, Kind.MADVISE, space, page, count, Advice.DONTNEED))
            elif roll < 0.98 and n_spaces < _N_SPACES:
                rows.append((time, Kind.FORK, space, 0, 0, n_spaces))
                alive.append(n_spaces)
                n_spaces += 1
            elif len(alive) > 1:
                rows.append((time, Kind.EXIT, space, 0, 0, 0))
                alive.remove(space)
    rows.append((70 * BATCH_NS, Kind.MARK, 0, 0, 0, 0))
    trace = make_trace(rows, contents)
    node = rng.integers(0, _N_NODES, len(rows)).astype(np.uint8)
    return replace(trace, events=trace.events._replace(node=node)), settings


def release_scenario(name: str, seed: int) -> tuple[Trace, dict[str, int]]:
    """One that fits the design, by turns restless, with the advisor, with huge frames or plain, and plain."""
    rng = np.random.default_rng([seed, 4])
    if seed % 4 == 1:
        trace, settings = restless_scenario(seed)
    else:
        trace, settings = wild_huge_scenario(seed) if seed % 8 == 3 else wild_scenario(seed)
    if seed % 4 == 2:
        trace, settings = _slow(trace, rng, settings)
    if seed % 2:
        settings["pages_scanned_bug"] = int(rng.integers(2))
    return trace, fitting(name, settings)


def _slow(trace: Trace, rng: np.random.Generator, settings: dict[str, int]) -> tuple[Trace, dict[str, int]]:
    """Full scans that last seconds, and the advisor with settings that matter."""
    events = trace.events._replace(time_ns=trace.events.time_ns * SLOWLY)
    value = events.value.copy()
    sleeps = np.array([n >= 0 and trace.names[n] == "sleep_millisecs" for n in events.name.tolist()])
    value[sleeps] *= SLOWLY
    settings = {
        **settings,
        "sleep_millisecs": settings.get("sleep_millisecs", 20) * SLOWLY,
        "advisor_mode": 1,
        "advisor_target_scan_time": int(rng.choice([1, 3, 10, 60])),
        "advisor_max_cpu": int(rng.choice([1, 20, 70])),
        "advisor_min_pages_to_scan": int(rng.choice([1, 5, 40])),
        "advisor_max_pages_to_scan": int(rng.choice([20, 300, 30000])),
    }
    settings.pop("pages_to_scan", None)
    return replace(trace, events=events._replace(value=value)), settings
