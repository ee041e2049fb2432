"""The replays that the report is made of, each made once, when a question first needs it."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ksmbench import designs, open_trace
from ksmbench.provenance import trace_identity
from ksmbench.replaying import replay
from ksmbench.result import Result
from ksmbench.specs import parse_design
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from workloads.review_2009.directed import quota
from workloads.review_2009.parameters import Report, report_parameters
from workloads.review_2009.workloads import NAMES, make

TRACES = Path(__file__).resolve().parents[3] / "traces"
STOPPED = " with run="  # "vms with run=0": the trace with KSM stopped for a while in this way
ROUNDS = "quota-rounds"
MIB = 1 << 20


@dataclass(frozen=True)
class Run:
    """One replay: `label` is the design with the settings in which it differs from the report's."""

    trace: str
    label: str
    result: Result
    page_size: int

    @property
    def samples(self) -> pl.DataFrame:
        """One row per sample."""
        return self.result.samples

    def __getitem__(self, name: str) -> Any:
        """A number of the summary."""
        return self.result.summary[name]

    def most(self, column: str) -> int | None:
        """The highest sample of a column."""
        return self.samples[column].max() if column in self.samples.columns else None  # type: ignore[return-value]

    def mean(self, column: str) -> float | None:
        """The mean of the samples of a column."""
        return self.samples[column].mean() if column in self.samples.columns else None  # type: ignore[return-value]

    @property
    def design(self) -> str:
        """The design without its settings."""
        return self.label.split(",")[0]

    @property
    def short_label(self) -> str:
        """The label without a quota, which headings tell."""
        return re.sub(r",max_kernel_pages=\d+", "", self.label)

    @property
    def seconds(self) -> pl.Series:
        """When each sample was taken."""
        return self.samples["time_ns"] / 1e9

    def _passes(self) -> pl.DataFrame:
        # Samples in which a pass had ended since the one before: when, how many passes since the last of these, in s.
        ended = pl.DataFrame({"at": self.seconds, "passes": self.samples["full_scans"]}).filter(
            pl.col("passes") != pl.col("passes").shift(1, fill_value=0)
        )
        return ended.with_columns(pl.all().diff().name.prefix("more_")).drop_nulls()

    @property
    def pass_s(self) -> float | None:
        """Seconds of a pass on average, in the second half: in the first there is less memory."""
        late = self._passes().filter(pl.col("at") > self["seconds"] / 2)
        return None if late.is_empty() else float(late["more_at"].sum()) / int(late["more_passes"].sum())

    @property
    def longest_pass_s(self) -> float | None:
        """Seconds of the longest pass, as fine as the samples are."""
        passes = self._passes()
        return None if passes.is_empty() else float((passes["more_at"] / passes["more_passes"]).max())  # type: ignore[arg-type]


def stopped(trace: Trace, stop_at: float, resume_at: float, value: int) -> Trace:
    """`trace` with a store of `value` into run at `stop_at`, and of 1 at `resume_at`."""
    events, names = trace.events, (*trace.names, "run")
    times = np.array([stop_at, resume_at]) * 1e9
    rows = np.searchsorted(events.time_ns, times)
    added: dict[str, Any] = dict.fromkeys(events._fields, 0)
    added |= {"time_ns": times, "kind": int(Kind.TUNE), "value": [value, 1], "name": len(names) - 1}
    inserted = {name: np.insert(getattr(events, name), rows.tolist(), added[name]) for name in events._fields}
    return replace(trace, events=events._replace(**inserted), names=names, path=None)


def label_of(trace: Trace) -> str:
    """What tables call a trace."""
    return str(trace.manifest.get("label") or (trace.path.name if trace.path else "trace"))


class Runs:
    """Makes replays and keeps them."""

    def __init__(
        self,
        tell: Callable[[str], None] = lambda _: None,
        parameters: Report | None = None,
        changes: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """`changes` are those to the parameters of workloads, by name; `tell` hears of each replay."""
        self.parameters = parameters or report_parameters()
        self._changes = changes or {}
        self.traces: dict[str, Trace] = {}
        self._runs: dict[tuple[Any, ...], Run] = {}
        self._compiled: set[str] = set()
        self._tell = tell

    @property
    def made(self) -> list[Run]:
        """Every replay made so far, by trace and design."""
        return [self._runs[key] for key in sorted(self._runs, key=str)]

    def recorded(self, *wanted: str) -> list[str]:
        """Those of the recorded traces that are shipped."""
        return [name for name in wanted if (TRACES / name / "trace.json").is_file()]

    def trace(self, name: str) -> Trace:
        """A workload, a recorded trace, one of these with a stop, or the rounds of the quota."""
        if name not in self.traces:
            self.traces[name] = self._make(name)
        return self.traces[name]

    def _make(self, name: str) -> Trace:
        base, is_stopped, value = name.partition(STOPPED)
        if is_stopped:
            return stopped(self.trace(base), self.parameters.stop_at, self.parameters.resume_at, int(value))
        if name == ROUNDS:
            return quota(self.parameters.rounds).trace
        return make(name, **self._changes.get(name, {})) if name in NAMES else open_trace(TRACES / name)

    def all(self, trace: str, labels: Iterable[str], **options: Any) -> list[Run]:
        """The replays of `trace` through designs such as "madvise-rfc-2009,callbacks=fork", in their order."""
        wanted = list(dict.fromkeys(labels))
        key = tuple(sorted(options.items()))
        missing = [label for label in wanted if (trace, label, key) not in self._runs]
        self.trace(trace)
        # A design's first replay compiles it: these one by one, the others on threads (kernels release the GIL).
        first = [label for label in missing if label.split(",")[0] not in self._compiled]
        first = [
            label for i, label in enumerate(first) if label.split(",")[0] not in [x.split(",")[0] for x in first[:i]]
        ]
        for label in first:
            self._runs[trace, label, key] = self._replay(trace, label, options)
            self._compiled.add(label.split(",")[0])
        rest = [label for label in missing if label not in first]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for label, run in zip(rest, pool.map(lambda one: self._replay(trace, one, options), rest), strict=True):
                self._runs[trace, label, key] = run
        return [self._runs[trace, label, key] for label in wanted]

    def one(self, trace: str, label: str, **options: Any) -> Run:
        """A single replay."""
        return self.all(trace, [label], **options)[0]

    def bound(self, trace: str, name: str) -> pl.Series:
        """Frames in use with `none` or `oracle`, at each sample."""
        return self.one(trace, name).samples["frames"]

    def _replay(self, trace: str, label: str, options: dict[str, Any]) -> Run:
        self._tell(f"{trace}: {label}")
        spec = parse_design(label)
        known = {setting.name for setting in designs.find(spec.design).settings}
        common = {name: value for name, value in self.parameters.settings.items() if name in known}
        settings = common | dict(spec.settings)
        opened = self.trace(trace)
        result = replay(opened, spec.design, **{"sample": self.parameters.sample} | options | settings)
        asked = f", as if {options['mergeable']} had asked" if "mergeable" in options else ""
        return Run(trace, label + asked, result, opened.page_size)

    def identities(self) -> dict[str, Any]:
        """What tells the traces from others, for the provenance."""
        return {name: trace_identity(trace) for name, trace in sorted(self.traces.items())}
