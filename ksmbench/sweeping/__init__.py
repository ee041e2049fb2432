"""`ksmbench.sweep`: a grid of settings x designs x traces, on all cores or a cluster, stopped and resumed at will."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor

from ksmbench.engine.cost import CostProfile
from ksmbench.engine.plan import MAX_MEMORY
from ksmbench.outputs import refuse_closed
from ksmbench.result import Sweep
from ksmbench.specs import with_policies
from ksmbench.sweeping.bench import Progress, open_bench
from ksmbench.sweeping.grid import MAX_REPLAYS, Vary, grid
from ksmbench.tasks import AnyTrace, open_traces
from ksmbench.trace.columns import Trace


def sweep(
    traces: AnyTrace | Sequence[AnyTrace],
    designs: Iterable[str] = ("ksm-6.18",),
    vary: Vary | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    sample: str | float = 1.0,
    cost: str | CostProfile | None = None,
    until: float | None = None,
    mergeable: str = "as-is",
    ignore_tune: bool = False,
    policy: str | Sequence[str] = (),
    host_memory: int | None = None,
    max_memory: int | None = None,
    max_replays: int = MAX_REPLAYS,
    force: bool = False,
    jobs: int | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Replay `traces` through `designs` with every combination of the values that `vary` gives settings.

    `vary` is such as `{"pages_to_scan": [100, 1000], "smart_scan": [0, 1]}`; each design must have each of these
    settings, or `{"policy": ["fixed", "ksmtuned"]}`. Changes of a varied setting that a trace recorded are left out;
    the other options mean what they mean to `ksmbench.replay`. Replays run in `jobs` processes, one per core unless
    said, or on the workers of the Dask scheduler `dask`, or on any `executor`; the tables are the same wherever.

    With `output`, finished replays are kept under `output`/unfinished as they come, and a sweep that was stopped goes
    on where it was when it is called again. At the end the folder holds `report.html`, `report.md`, `samples.parquet`
    and `summary.parquet` instead; an older report there is an error unless `force` is set. `progress` is told the
    replays done, and how many there are.

    Raises as `ksmbench.compare` does, and `KsmbenchError` where a replay lost its worker three times.
    """
    from ksmbench.report.sweep import check_sweep_output, looked_at, write_sweep  # workers do without its plots

    wanted = with_policies(designs, [policy] if isinstance(policy, str) else policy)
    listed = {name: list(given) for name, given in (vary or {}).items()}
    folder = None if output is None else check_sweep_output(output, force=force)
    if folder is not None:
        refuse_closed(folder)
    n_traces = 1 if isinstance(traces, Trace | str | os.PathLike) else len(traces)
    specs = grid(wanted, listed, n_traces, max_replays)
    options = {
        "sample": sample,
        "cost": cost,
        "until": until,
        "mergeable": mergeable,
        "ignore_tune": ignore_tune,
        "host_memory": host_memory,
        "max_memory": max_memory or MAX_MEMORY,
    }
    with open_bench(
        open_traces(traces),
        options,
        folder,
        only=(specs, listed),
        force=force,
        jobs=jobs,
        dask=dask,
        executor=executor,
    ) as bench:
        found = bench.run(specs, wanted, listed, progress=progress, output=folder)
        if folder is not None:
            found = bench.look(found, looked_at(found))
            write_sweep(found, folder)
    return found


__all__ = ["MAX_REPLAYS", "Progress", "Sweep", "sweep"]
