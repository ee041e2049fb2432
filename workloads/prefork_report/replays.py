"""The replays of the report, and what is measured of each beside its summary."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from ksmbench import open_trace
from ksmbench.replaying import replay
from ksmbench.result import Result
from ksmbench.trace.columns import Trace
from workloads.review_2009.report.runs import TRACES

DESIGN = "ksm-6.18"
MAIN, SECOND = "prefork-prctl-32", "prefork-server"


@dataclass(frozen=True)
class Plan:
    """What is replayed: fixed rates with smart scan on and off, and the advisor's target times with each."""

    rates: tuple[int, ...] = (100, 200, 500, 1000, 2000, 4000, 10000)
    second_rates: tuple[int, ...] = (100, 1000)
    targets: tuple[int, ...] = (200, 20, 2)  # the first is the kernel's default
    until: float | None = None


PLAN = Plan()


@dataclass(frozen=True)
class Replay:
    """One replay: smart scan on or off, at a fixed rate or with the advisor and a target time."""

    trace: str
    smart_scan: int
    pages_to_scan: int | None
    target: int | None
    result: Result
    passes: pl.DataFrame | None = None  # of the advisor's replays, as `ended_passes` has them

    @property
    def settings(self) -> dict[str, int]:
        """The settings in which it differs from the defaults."""
        how = {"advisor_target_scan_time": self.target} if self.target else {"pages_to_scan": self.pages_to_scan or 0}
        return {"smart_scan": self.smart_scan} | how

    @property
    def label(self) -> str:
        """What tables and plots call it."""
        rate = f"advisor, target {self.target} s" if self.target else f"pages_to_scan={self.pages_to_scan}"
        return f"{rate}, smart_scan={self.smart_scan}"

    @property
    def command(self) -> str:
        """What makes it again."""
        policy = " --policy advisor" if self.target else ""
        given = " ".join(f"--set {name}={value}" for name, value in self.settings.items())
        return f"ksmbench replay traces/{self.trace} --design {DESIGN}{policy} {given}"

    def __getitem__(self, name: str) -> Any:
        """A number of the summary."""
        return self.result.summary[name]

    @property
    def samples(self) -> pl.DataFrame:
        """One row per second."""
        return self.result.samples

    @property
    def seconds(self) -> pl.Series:
        """When each sample was taken."""
        return self.samples["time_ns"] / 1e9

    @property
    def late(self) -> pl.DataFrame:
        """The samples of the second half, when the workers have started and their memory is warm."""
        return self.samples.filter(pl.col("time_ns") >= int(self["seconds"] * 5e8))

    def per_pass(self, column: str) -> float | None:
        """How much a full scan adds to a counter in the second half: first to last sample in which one had ended."""
        ended = self.late.filter(pl.col("full_scans") != pl.col("full_scans").shift(1))
        passes = 0 if ended.is_empty() else int(ended["full_scans"][-1] - ended["full_scans"][0])
        return None if passes == 0 else float(ended[column][-1] - ended[column][0]) / passes

    @property
    def late_cpu(self) -> float:
        """The part of one CPU that ksmd takes in the second half."""
        late = self.late
        return float(late["cpu_ns"][-1] - late["cpu_ns"][0]) / float(late["time_ns"][-1] - late["time_ns"][0])

    @property
    def merged_part(self) -> float:
        """The part of the pages in KSM's books that is merged, in the second half."""
        sums = self.late.select(pl.col("pages_shared", "pages_sharing", "pages_unshared", "pages_volatile").sum()).row(
            0
        )
        return float(sums[0] + sums[1]) / float(sum(sums) or 1)

    def numbers(self) -> dict[str, Any]:
        """A row for the table of all replays."""
        more = {
            "late_cpu_share": self.late_cpu,
            "late_merged_part": self.merged_part,
            "pass_s": self.per_pass("time_ns") and (self.per_pass("time_ns") or 0) / 1e9,
            "pass_pages_scanned": self.per_pass("pages_scanned"),
            "pass_pages_skipped": self.per_pass("pages_skipped"),
            "pass_cpu_ns": self.per_pass("cpu_ns"),
        }
        names = ("pages_scanned", "pages_skipped", "full_scans")
        work = {name: int(self.samples[name][-1]) for name in ("checksums", "comparisons", "compared_bytes")}
        asked = {"trace": self.trace, "smart_scan": self.smart_scan, "pages_to_scan": self.pages_to_scan}
        asked["advisor_target_scan_time"] = self.target
        kept = {k: v for k, v in self.result.summary.items() if v is not None and k not in names}
        return asked | {name: self[name] for name in names} | work | more | kept | {"command": self.command}


@dataclass(frozen=True)
class Replays:
    """All replays of a plan, and the traces."""

    plan: Plan
    traces: dict[str, Trace]
    made: list[Replay]

    def fixed(self, trace: str, smart_scan: int) -> list[Replay]:
        """Those at a fixed rate, slowest first."""
        return [r for r in self.made if r.trace == trace and r.smart_scan == smart_scan and r.pages_to_scan]

    def advised(self, trace: str) -> list[Replay]:
        """Those with the advisor."""
        return [r for r in self.made if r.trace == trace and r.target]

    def pairs(self, trace: str) -> list[tuple[Replay, Replay]]:
        """Smart scan off and on, at each fixed rate."""
        return list(zip(self.fixed(trace, 0), self.fixed(trace, 1), strict=True))


def ended_passes(batches: pl.DataFrame) -> pl.DataFrame:
    """`end_ns`, `seconds` and `cpu_s` of each full scan but the first, from samples of every batch."""
    ended = batches.filter(pl.col("full_scans") > pl.col("full_scans").shift(1, fill_value=0))
    return ended.select(
        pl.col("time_ns").alias("end_ns"),
        (pl.col("time_ns").diff() / 1e9).alias("seconds"),
        (pl.col("cpu_ns").diff() / 1e9).alias("cpu_s"),
    ).drop_nulls()


def _replay(trace: Trace, name: str, smart_scan: int, rate: int | None, target: int | None, plan: Plan) -> Replay:
    made = Replay(name, smart_scan, rate, target, None)  # type: ignore[arg-type]
    policy = {"policy": "advisor"} if target else {}
    result = replay(trace, DESIGN, sample=1.0, until=plan.until, **policy, **made.settings)  # type: ignore[arg-type]
    if target is None:
        return replace(made, result=result)
    batches = replay(trace, DESIGN, sample="batch", until=plan.until, **policy, **made.settings)  # type: ignore[arg-type]
    return replace(made, result=result, passes=ended_passes(batches.samples))


def replay_all(plan: Plan, jobs: int, tell: Callable[[str], None] = lambda _: None) -> Replays:
    """Make the replays, `jobs` at a time (the kernels release the GIL)."""
    traces = {name: open_trace(TRACES / name) for name in (MAIN, SECOND)}
    wanted: list[tuple[str, int, int | None, int | None]] = [
        *((MAIN, smart, rate, None) for rate in plan.rates for smart in (0, 1)),
        *((MAIN, smart, None, target) for target in plan.targets for smart in (0, 1)),
        *((SECOND, smart, rate, None) for rate in plan.second_rates for smart in (0, 1)),
        *((SECOND, smart, None, plan.targets[0]) for smart in (0, 1)),
    ]

    def one(asked: tuple[str, int, int | None, int | None]) -> Replay:
        made = _replay(traces[asked[0]], *asked, plan)
        tell(f"{made.trace}: {made.label}")
        return made

    first = one(wanted[0])  # compiles
    with ThreadPoolExecutor(jobs) as pool:
        return Replays(plan, traces, [first, *pool.map(one, wanted[1:])])
