"""Random valid traces, far wilder than any machine makes, through `info`, `explain` and every design.

Usage: fuzz_events.py FIRST_SEED LAST_SEED. Pages stand at the edges of what the format allows, ranges are from one page
to all, spaces fork, exec and move onto themselves. Nothing may be raised, every recount must agree, and the frames of
`none` must be those that `info` counts. With NUMBA_BOUNDSCHECK=1 it also finds every index out of range (it compiles
everything once more; `test_fuzz.py` plays a few seeds without).
"""

import sys

import numpy as np

from ksmbench.errors import UsageError
from ksmbench.explaining import show as explanation
from ksmbench.explaining.recorded import explained_trace
from ksmbench.explaining.report import explain
from ksmbench.replaying import replay
from ksmbench.trace.columns import Contents, Events, Space, Trace
from ksmbench.trace.describe import KNOWN_SETTINGS, describe
from ksmbench.trace.rules import check_events
from ksmbench.trace.schema import HUGE_PAGES, PAGE_LIMIT, RANGE_KINDS, Kind
from ksmbench.trace.show import show

_N_SPACES = 6
_N_CONTENTS = 5
_ANCHORS = (0, 1, HUGE_PAGES, 1 << 35, PAGE_LIMIT - 3 * HUGE_PAGES, PAGE_LIMIT - 5, PAGE_LIMIT - 1)
_COUNTS = (1, 1, 2, 3, 30, 511, 512, 513, 1 << 40, PAGE_LIMIT)
_ADVICE = (4, 10, 11, 12, 12, 13, 14, 15, 18, 19, 0, -1, 1 << 62)
_NUMBERS = (0, 1, 2, 3, 5, 100, -1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, -(1 << 63))
_FILLING = (Kind.WRITE, Kind.TOUCH)
Row = tuple[int, int, int, int, int, int, int]  # time, kind, space, page, count, value, name


class _Wild:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 77])
        self.names = tuple(sorted(KNOWN_SETTINGS)) + ("", "nonsense")
        self.alive = [0, 1]
        self.born = 2
        self.time = int(self.rng.choice([0, 0, 7, 10**12]))
        self.rows: list[Row] = []

    def of(self, values: tuple[int, ...]) -> int:
        return values[int(self.rng.integers(len(values)))]

    def range_of(self, kind: Kind) -> tuple[int, int]:
        page = min(max(self.of(_ANCHORS) + int(self.rng.integers(-3, 40)), 0), PAGE_LIMIT - 1)
        count = self.of(_COUNTS[:7] if kind in _FILLING else _COUNTS)
        if kind == Kind.HUGE:
            page -= page % HUGE_PAGES
            count = HUGE_PAGES * self.of((1, 1, 2))
        return page, min(count, PAGE_LIMIT - page)

    def value_of(self, kind: Kind, space: int, count: int) -> int:
        if kind == Kind.WRITE:
            return int(self.rng.integers(_N_CONTENTS))
        if kind == Kind.MADVISE:
            return self.of(_ADVICE)
        if kind == Kind.MOVE:
            return min(max(self.of(_ANCHORS) + int(self.rng.integers(-3, 40)), 0), PAGE_LIMIT - count)
        if kind == Kind.SHARE:
            return self.of(tuple(self.alive))
        if kind == Kind.TUNE:
            return self.of(_NUMBERS)
        return self.of((0, 1)) if kind == Kind.PRCTL else self.of((0, 0, 1, 2)) if kind == Kind.MAP else 0

    def event(self, kind: Kind) -> None:
        """One event of this kind, where it is possible now."""
        if not self.alive:
            return
        space = self.of(tuple(self.alive))
        page, count = self.range_of(kind) if kind in RANGE_KINDS else (0, 0)
        value = self.value_of(kind, space, count)
        name = int(self.rng.integers(len(self.names))) if kind in (Kind.TUNE, Kind.MARK) else -1
        if kind == Kind.FORK:
            if self.born == _N_SPACES:
                return
            value = self.born
            self.alive.append(value)
            self.born += 1
        elif kind == Kind.EXIT:
            self.alive.remove(space)
        self.rows.append((self.time, int(kind), space, page, count, value, name))

    def trace(self) -> Trace:
        """Some tens of events, each space with something mapped first."""
        for space in (0, 1):
            self.rows.append((self.time, int(Kind.MAP), space, 0, PAGE_LIMIT, 0, -1))
            self.rows.append((self.time, int(Kind.MADVISE), space, 0, PAGE_LIMIT, 12, -1))
        kinds = np.array([*Kind, *[Kind.WRITE] * 12, Kind.TOUCH, Kind.FORK, Kind.MOVE, Kind.MOVE, Kind.SHARE])
        weights = np.where(kinds == Kind.EXIT, 0.3, 1.0)
        for _ in range(int(self.rng.integers(1, 70))):
            self.event(Kind(self.rng.choice(kinds, p=weights / weights.sum())))
            if self.rng.random() < 0.3:
                self.time += self.of((1, 10**7, 10**8))
        table = np.array(self.rows, np.int64).T
        events = Events(
            table[0],
            table[1].astype(np.uint8),
            table[2].astype(np.int32),
            table[3],
            table[4],
            table[5],
            self.rng.integers(0, 256, len(self.rows)).astype(np.uint8),
            table[6].astype(np.int32),
        )
        contents = Contents(
            np.array([0, 9, 0, 4095, 100], np.uint16), self.rng.integers(0, 4, _N_CONTENTS).astype(np.uint32)
        )
        spaces = tuple(Space(None, f"s{i}", "vm") for i in range(_N_SPACES))
        manifest = {"format": "ksmbench-trace", "version": 1, "page_size": 4096}
        check_events("events", events._replace(page=table[3].astype(np.uint64), n_pages=table[4].astype(np.uint64)),
                     self.names, _N_SPACES, _N_CONTENTS)  # fmt: skip
        return Trace(manifest, spaces, events, contents, self.names)

    def settings(self) -> dict[str, int]:
        """Settings of ksm-6.18."""
        return {
            "run": self.of((1, 1, 1, 0, 2)),
            "pages_to_scan": self.of((1, 10, 1000, (1 << 32) - 1)),
            "sleep_millisecs": self.of((1, 20, 1000)),
            "smart_scan": self.of((0, 1)),
            "use_zero_pages": self.of((0, 1)),
            "max_page_sharing": self.of((2, 3, 256)),
            "stable_node_chains_prune_millisecs": self.of((0, 2000)),
        }


def play(seed: int) -> None:
    """Describe and replay the trace of `seed`; raises where something is wrong."""
    wild = _Wild(seed)
    trace, settings = wild.trace(), wild.settings()
    facts = describe(trace)
    show(facts)
    explained = explain(explained_trace(trace))
    explanation.show(explained, show_all=True)
    saved = facts["memory"]["end"]["oracle_saved_pages"]
    assert explained["savings"]["as_asked_pages"] == saved, "explain and info save different pages"
    sample = ("batch", "end", 0.01)[seed % 3]
    mergeable = ("as-is", "all", "s*1")[seed // 3 % 3]
    if trace.events.time_ns[0] == trace.events.time_ns[-1]:
        settings["run"] = 1  # a snapshot that nobody scans has no end of its own
    options = {"sample": sample, "mergeable": mergeable, "check": True}
    ksm = replay(trace, "ksm-6.18", cost=None if seed % 2 else "none", **options, **settings)
    assert ksm.spaces.height >= 0
    none = replay(trace, "none", **options)
    oracle = replay(trace, "oracle", **options)
    assert none.summary["frames"] == facts["memory"]["end"]["frames"], "none and info count other frames"
    assert oracle.summary["frames"] <= none.summary["frames"], "the oracle needs more than none"
    if mergeable == "as-is":
        saved = facts["memory"]["end"]["oracle_saved_pages"]
        assert oracle.summary["saved_bytes"] == saved * 4096, "oracle and info save different pages"


def main() -> None:
    """Play the seeds; the last line printed to standard error names the one that failed."""
    first, last = int(sys.argv[1]), int(sys.argv[2])
    for seed in range(first, last):
        print("seed", seed, file=sys.stderr, flush=True)
        try:
            play(seed)
        except UsageError as error:
            if "samples" not in str(error):  # a tune of sleep_millisecs may ask for any number of batches
                raise


if __name__ == "__main__":
    main()
