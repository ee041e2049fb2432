"""Wild scenarios: every verb of a trace, odd events, settings that change, and times at which ksmd has nothing to do.

Unlike the scenarios that real processes play (`tests.kernel.scenarios`) these leave no space alone and need not keep
anything mergeable.
"""

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind, Mapping
from tests.kernel.scenarios import AREA_PAGES, _Builder, make_trace

STEP_NS = 5_000_000
_N_SPACES = 8
_STORES: dict[str, tuple[int, ...]] = {
    "run": (0, 0, 1, 1, 1, 1, 2, 2, 3),
    "pages_to_scan": (0, 1, 2, 5, 13, 40, 1000, -1),
    "sleep_millisecs": (10, 20, 40),
    "max_page_sharing": (1, 2, 3, 4, 8),
    "use_zero_pages": (0, 1, 19),
    "smart_scan": (0, 1, 100),
    "stable_node_chains_prune_millisecs": (0, 100, 4294967295),
    "merge_across_nodes": (0, 1),
    "advisor_mode": (0, 1, 1, 2),
    "advisor_target_scan_time": (0, 1, 7, 1 << 62),
    "advisor_max_cpu": (0, 5, 70, (1 << 32) + 2),
    "advisor_min_pages_to_scan": (1, 9, (1 << 40) + 3),
    "advisor_max_pages_to_scan": (4, 1000, 1 << 33),
    "no_such_file": (1,),
}


class _Wild(_Builder):
    """Adds events that real processes do not play, and stores into KSM's files."""

    def __init__(self, seed: int, *, tunes: bool) -> None:
        super().__init__(seed)
        self.names: list[str] = list(_STORES)
        self.named: dict[int, int] = {}
        self.rare = float(self.rng.random()) * 0.6
        self.tunes = tunes

    def tune(self, name: str, value: int) -> None:
        self.named[len(self.rows)] = self.names.index(name)
        self.add(Kind.TUNE, 0, value=value)

    def place(self) -> tuple[int, int]:
        """Any first page and count, mapped or not, also beyond the areas' ends."""
        area, start = int(self.rng.integers(3)), int(self.rng.integers(AREA_PAGES))
        return self.page(area, start), int(self.rng.integers(1, 1 + self.pick(1, 4, 16, AREA_PAGES)))

    def note(self, space: int, page: int, count: int, mapped: bool) -> None:
        """Keep the record of what is mapped."""
        area, start = divmod(page - self.page(0, 0), self.page(1, 0) - self.page(0, 0))
        self.mapped[space][area, start : start + count] = mapped
        self.kept[space][area, start : start + count] = False

    def event(self) -> None:
        """One event, perhaps a rare one."""
        alive = self.alive()
        if self.tunes and self.rng.random() < 0.06:
            name = self.names[int(self.rng.integers(len(self.names)))]
            self.tune(name, self.pick(*_STORES[name]))
            return
        if not alive:
            if self.next_space < _N_SPACES:
                self.map(self.new_space())
            return
        if self.rng.random() >= self.rare:
            super().event()
            return
        self.rare_event(self.pick(*alive))

    def rare_event(self, space: int) -> None:
        """What processes of the kernel harness do not do."""
        page, count = self.place()
        roll = int(self.rng.integers(16))
        if roll == 0:
            self.add(Kind.PRCTL, space, value=self.pick(0, 1, 1))
        elif roll == 1:
            self.add(Kind.EXEC, space)
            self.mapped[space][:] = self.kept[space][:] = False
        elif roll <= 3:
            self.add(Kind.SHARE, space, page, count, self.pick(*range(self.next_space)))
        elif roll == 4:
            self.add(Kind.SWAPOUT, space, page, count)
        elif roll == 5:
            self.add(Kind.MIGRATE, space, page, count, 0)
        elif roll == 6:
            to, _ = self.place()
            self.add(Kind.MOVE, space, page, count, to)
            if self.rng.random() < 0.3:
                self.add(Kind.MOVE, space, page, count, page + int(self.rng.integers(0, count + 1)))
        elif roll <= 8:
            self.add(Kind.MAP, space, page, count, self.pick(Mapping.ANONYMOUS, Mapping.NEVER, Mapping.FILE))
            self.note(space, page, count, True)
        elif roll == 9:
            self.add(Kind.UNMAP, space, page, count)
            self.note(space, page, count, False)
        elif roll == 10:
            self.add(Kind.MADVISE, space, page, count, self.pick(4, 8, 10, 11, 12, 12, 13, 14, 15, 18, 19, 21, 99))
        elif roll == 11:
            self.add(Kind.MADVISE, space, self.page(0, 0), 3 * (self.page(1, 0) - self.page(0, 0)), Advice.UNMERGEABLE)
        elif roll == 12:
            self.add(Kind.EXIT, space)
            self.exited.add(space)
        elif roll == 13 and self.next_space < _N_SPACES:
            child = self.new_space()
            self.mapped[child] = self.mapped[space] & ~self.kept[space]
            self.add(Kind.FORK, space, value=child)
        elif roll == 14:
            self.add(self.pick(Kind.TOUCH, Kind.READ), space, page, count)
        else:
            self.add(Kind.WRITE, space, page, count, int(self.rng.integers(len(self.contents.lcp))))


def wild_scenario(seed: int) -> tuple[Trace, dict[str, int]]:
    """A trace of 0.6 to 2 seconds, and the settings that it starts with."""
    b = _Wild(seed, tunes=seed % 4 != 0)
    settings = {
        "pages_to_scan": b.pick(1, 2, 5, 10, 20, 50, 100_000),
        "sleep_millisecs": b.pick(10, 20, 20, 40),
        "smart_scan": b.pick(0, 0, 1),
        "use_zero_pages": b.pick(0, 1),
        "max_page_sharing": b.pick(2, 3, 4, 256),
        "stable_node_chains_prune_millisecs": b.pick(0, 100, 4294967295),
        "run": b.pick(1, 1, 1, 0, 2),
    }
    for _ in range(int(b.rng.integers(1, 4))):
        space = b.new_space()
        if b.rng.random() < 0.3:
            b.add(Kind.PRCTL, space, value=1)
        if b.rng.random() < 0.9:
            b.map(space)
    if settings["run"] != 1:
        b.tune("run", b.pick(0, 1, 1, 1))
    for _ in range(int(b.rng.integers(4, 24))):
        b.event()
    busy = b.rng.random() * 0.4
    for step in range(int(b.rng.integers(120, 400))):
        b.time = step * STEP_NS
        if b.rng.random() < busy:
            for _ in range(int(b.rng.geometric(0.4))):
                b.event()
    b.add(Kind.MARK, 0)
    return make_trace(b.rows, b.contents, tuple(b.names), b.named), settings
