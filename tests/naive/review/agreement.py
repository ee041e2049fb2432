"""The engine on a scenario, and the first place where it and the twin differ."""

from __future__ import annotations

from ksmbench import designs
from ksmbench.engine.cost import CostProfile
from ksmbench.engine.counters import ROW_COUNTERS
from ksmbench.engine.drive import Record, Timing
from ksmbench.engine.plan import make_plan
from tests.naive.replay import Row
from tests.naive.review.replay import naive_review_replay
from tests.naive.review.scenarios import Scenario


def _run(name: str, played: Scenario, cost: CostProfile | None) -> Record:
    design = designs.find(name)
    asking = "".join(str(space) for space in sorted(played.asking))
    plan = make_plan(played.trace, mergeable=f"p[{asking}]" if asking else "as-is")
    settings = designs.encoded(design, designs.complete_settings(design, played.settings))
    end = int(played.trace.events.time_ns[-1])
    timing = Timing(start_ns=plan.start_ns, until_ns=end, every_batch=True, profile=cost)
    record: Record = design.run(played.trace, plan, settings, timing, check=True)
    return record


def _wrong(mine: Row, twins: Row) -> str:
    """The columns of the twin that differ."""
    return ", ".join(f"{name} {mine[name]} (twin {twins[name]})" for name in twins if mine[name] != twins[name])


def difference(name: str, played: Scenario, cost: CostProfile | None = None) -> str | None:
    """The first batch in which the engine differs from the twin, with the columns; None where they agree."""
    record = _run(name, played, cost)
    twins, end = naive_review_replay(played.trace, name, played.settings, cost, played.asking)
    columns = ("time_ns", *ROW_COUNTERS)
    ours = [dict(zip(columns, row, strict=True)) for row in record.rows.tolist()]
    for number, (mine, other) in enumerate(zip(ours, twins, strict=False)):
        if wrong := _wrong(mine, other):
            return f"batch {number} at {other['time_ns'] / 1e6:g} ms: {wrong}"
    if len(ours) != len(twins):
        return f"{len(ours)} batches, the twin has {len(twins)}"
    mine = dict(zip(columns, record.last.tolist(), strict=True)) | {
        "refused": record.refused_tunes,
        "longest_delay_ns": record.longest_delay_ns,
        "copies_at_exit": record.copies_at_exit,
        "copies_at_stop": record.copies_at_stop,
    }
    wrong = _wrong(mine, end)
    return f"at the end: {wrong}" if wrong else "; ".join(record.wrong) or None
