"""The engine on a trace, and the first place where it and the naive twin differ."""

import numpy as np

from ksmbench import designs
from ksmbench.designs.design import Design
from ksmbench.designs.ksm.features import find_features, parse_release
from ksmbench.designs.none import DESIGN as NONE
from ksmbench.designs.oracle import DESIGN as ORACLE
from ksmbench.engine.cost import CostProfile
from ksmbench.engine.counters import ROW_COUNTERS, SPACE_COUNTERS
from ksmbench.engine.drive import Record, Timing
from ksmbench.engine.plan import make_plan
from ksmbench.trace.columns import Trace
from tests.naive.replay import Row, naive_replay, naive_still


def _run(
    design: Design,
    trace: Trace,
    settings: dict[str, int],
    *,
    every_batch: bool,
    cost: CostProfile | None = None,
) -> Record:
    plan = make_plan(trace)
    times = np.unique(trace.events.time_ns)
    timing = Timing(
        start_ns=plan.start_ns,
        until_ns=int(times[-1]),
        listed=None if every_batch else times,
        every_batch=every_batch,
        with_spaces=every_batch,
        profile=cost,
    )
    codes = designs.encoded(design, designs.complete_settings(design, settings))
    record: Record = design.run(trace, plan, codes, timing, check=True)
    return record


def _first_difference(what: str, ours: list[Row], twins: list[Row]) -> str | None:
    for number, (mine, other) in enumerate(zip(ours, twins, strict=False)):
        wrong = [f"{name} {mine[name]} (twin {other[name]})" for name in mine if mine[name] != other[name]]
        if wrong:
            return f"{what} {number} at {other['time_ns'] / 1e6:g} ms: {', '.join(wrong)}"
    if len(ours) != len(twins):
        return f"{len(ours)} {what} rows, the twin has {len(twins)}"
    return None


def difference(
    trace: Trace, settings: dict[str, int], name: str = "ksm-6.18", cost: CostProfile | None = None
) -> str | None:
    """The first batch in which the engine differs from the twin, with the columns; None where they agree."""
    release = parse_release(name.removeprefix("ksm-"))
    features = find_features(*release)
    record = _run(designs.find(name), trace, settings, every_batch=True, cost=cost)
    rows, spaces, refused = naive_replay(trace, features, settings, cost)
    if record.refused_tunes != refused:
        return f"{record.refused_tunes} stores refused, the twin refuses {refused}"
    names = ("time_ns", *ROW_COUNTERS)
    ours = [{name: row[names.index(name)] for name in rows[0]} for row in record.rows.tolist()] if rows else []
    columns = ("time_ns", "space", *SPACE_COUNTERS)
    ours_spaces = [dict(zip(columns, row, strict=True)) for row in record.spaces.tolist()]
    return (
        _first_difference("batch", ours, rows)
        or _first_difference("space row", ours_spaces, spaces)
        or ("; ".join(record.wrong) or None)
    )


def still_difference(trace: Trace, *, merged: bool) -> str | None:
    """The same for the design `none`, or `oracle` where merged, in `frames` after the events of each time."""
    record = _run(ORACLE if merged else NONE, trace, {}, every_batch=False)
    frames = 1 + ROW_COUNTERS.index("frames")
    ours = [{"time_ns": row[0], "frames": row[frames]} for row in record.rows.tolist()]
    return _first_difference("sample", ours, naive_still(trace, merged=merged)) or ("; ".join(record.wrong) or None)
