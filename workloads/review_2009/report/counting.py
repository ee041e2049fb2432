"""munmap without a callback, and the quota of merged frames that is said to suffer from all that is lost."""

import polars as pl

from workloads.review_2009.directed import Q
from workloads.review_2009.report.runs import ROUNDS, Run, Runs
from workloads.review_2009.report.telling import (
    ALL_CALLBACKS,
    CALLBACKS,
    CPU,
    DEVICE,
    LOST_MEAN,
    LOST_MOST,
    MERGED,
    METADATA,
    RFC,
    ROLLUP,
    SAVED_MEAN,
    Answer,
    Column,
    Figure,
    against,
    both,
    grouped,
    key,
    lines,
    n,
    percent,
    saved,
    table,
)


def _quota(runs: Runs, trace: str) -> int:
    # A part of what ksm-2.6.32 merges at most without one.
    most = runs.one(trace, MERGED).most("frames_ksm") or 0
    return max(1, round(most * runs.parameters.quota_part))


def _most_of(run: Run, above: str, below: str) -> int:
    return max(0, int((run.samples[above] - run.samples[below]).max()))  # type: ignore[arg-type]


_GONE = Column("counted but gone, most", lambda run: _most_of(run, "kernel_pages_counted", "frames_ksm"))
_UNCOUNTED = Column("in use but not counted, most", lambda run: _most_of(run, "frames_ksm", "kernel_pages_counted"))
_IN_USE = Column("merged frames in use, most", lambda run: run.most("frames_ksm"))
_COUNTED = Column("counted, most", lambda run: run.most("kernel_pages_counted"))


def _unmapped(answer: Answer, runs: Runs, trace: str) -> list[str]:
    # One trace; how the saving with the callback compares without a quota, and under one.
    limit = _quota(runs, trace)
    free = runs.all(trace, (DEVICE, RFC, f"{RFC},callbacks=munmap", ROLLUP, MERGED))
    bound = runs.all(trace, [f"{run.label},max_kernel_pages={limit}" for run in free])
    compared = []
    for made, where in ((free, "without a quota"), (bound, f"with a quota of {n(limit)} merged frames")):
        rfc, mended = made[1:3]
        words = against(mended["saved_bytes_mean"], rfc["saved_bytes_mean"], runs.parameters.about_equal)
        compared.append(words)
        answer.sentences.append(
            f"`{trace}`, {where}: with the callback the RFC saves {saved(mended)} on average, {words} without "
            f"({saved(rfc)}). Without it at most {n(_GONE.value(rfc))} merged frames are counted that are gone, and "
            f"{n(_UNCOUNTED.value(rfc))} in use are not counted; with it {n(_GONE.value(mended))} and "
            f"{n(_UNCOUNTED.value(mended))}."
        )
        answer.tables.append(table(f"{trace}, {where}", made, _GONE, _UNCOUNTED, LOST_MOST, SAVED_MEAN, METADATA, CPU))
    answer.figures.append(
        lines(
            f"munmap-count-{trace}",
            f"Merged frames in use minus those counted: {trace}",
            "Above zero the count misses frames that are in use, below zero it has frames that are gone.",
            "frames",
            free,
            lambda samples: samples["frames_ksm"] - samples["kernel_pages_counted"],
        )
    )
    return compared


def munmap(runs: Runs) -> Answer:
    """Without a callback in munmap."""
    answer = Answer(
        "munmap",
        "munmap without a callback",
        "Nobody tells KSM about munmap. Does it then never know that its pages have gone away?",
    )
    traces = ("churn", "allocators")
    words = {trace: _unmapped(answer, runs, trace) for trace in traces}
    free, bound = (grouped({trace: words[trace][i] for trace in traces}) for i in (0, 1))
    rfcs = [runs.one(trace, RFC) for trace in traces]
    gone = max(rfcs, key=lambda run: _GONE.value(run) or 0)
    lost = max(run.most("lost_by_unmap") or 0 for run in rfcs)
    told = "no entry was lost by it" if lost == 0 else f"up to {n(lost)} entries were lost by it"
    seconds = gone.pass_s
    answer.short = (
        f"It learns it when it comes by, in passes of {n(seconds, 2)} s on `{gone.trace}`; until then up to "
        f"{n(_GONE.value(gone))} merged frames are counted there that are gone. A munmap leaves items without pages, "
        f"not pages without items: {told}. Against going without, a callback makes the RFC save {free}; under a quota, "
        f"{bound}."
    )
    return answer


def beyond(runs: Runs) -> Answer:
    """What else lost pages lead to."""
    answer = Answer(
        "beyond",
        "What lost pages lead to",
        "The full consequences of these lost pages are not worked out. Perhaps it is no worse than that the quota can "
        "never be enforced?",
    )
    exits, equal = f"{RFC},callbacks=exit", runs.parameters.about_equal
    words: dict[str, str] = {}
    changed: dict[str, float] = {}
    traces = ["prefork", "allocators", "churn", "crowd", *runs.recorded("prefork-server", "growing-allocators")]
    for trace in traces:
        made = runs.all(trace, (RFC, exits, ALL_CALLBACKS, MERGED))
        _, lossy, whole, _ = made
        words[trace] = against(lossy["saved_bytes_mean"], whole["saved_bytes_mean"], equal)
        changed[trace] = abs(lossy["saved_bytes_mean"] / whole["saved_bytes_mean"] - 1)
        frames = Column("frames in use, mean", lambda run: run.mean("frames"))
        merged = Column("of them merged", lambda run: run.mean("frames_ksm"))
        answer.tables.append(
            table(trace, made, LOST_MEAN, frames, merged, SAVED_MEAN, key("cow_breaks", "copies"), CPU)
        )
        answer.sentences.append(
            f"`{trace}`, without a quota: with a callback in exit only, {n(lossy.mean('lost_ptes'))} entries are "
            f"lost on average, with all four {n(whole.mean('lost_ptes'))}. Saved are {saved(lossy)} and {saved(whole)} "
            f"on average: going without the other three saves {words[trace]} having them."
        )
    answer.sentences.append(
        "In the RFC a forked child is not on the list unless it asks by itself. So its merged pages are not only lost: "
        "nothing else of it is scanned."
    )
    most, where = max((changed[trace], trace) for trace in traces)
    right = "Yes" if most < equal else "Nearly" if most < runs.parameters.nearly else "No, it can be worse"
    answer.short = (
        f"{right}: without a quota, and with a callback in exit, going without those in fork, mremap and munmap "
        f"changes what the RFC saves by up to {percent(most)}. Against having them it saves {grouped(words)}."
    )
    return answer


def _rounds(answer: Answer, runs: Runs) -> str:
    # The directed scenario: lines of what is in use and what is counted.
    limits = f"pages_to_scan=2000,max_kernel_pages={Q}"
    made = runs.all(ROUNDS, [f"{design},{limits}" for design in (DEVICE, RFC, MERGED)], sample=0.02, cost="none")
    parts = []
    shown = ((made[1], "frames_ksm", "in use"), (made[1], "kernel_pages_counted", "counted"))
    for run, column, told in (*shown, (made[2], "frames_ksm", "in use")):
        values = run.samples[column].cast(pl.Float64)
        parts.append(pl.DataFrame({"label": f"{run.design}: {told}", "x": run.seconds, "value": values}))
    note = (
        f"Every second the parent of {n(2 * Q)} merged pages forks a child, which does nothing, and rewrites them all. "
        f"The quota is {n(Q)} merged frames, what the parent alone needs."
    )
    title = "Merged frames in use and counted: a round each second"
    answer.figures.append(Figure("quota-rounds", title, note, "frames", pl.concat(parts)))
    k = runs.parameters.rounds
    said = [f"`{run.design}` {n(run.most('frames_ksm'))} ({n(run.most('kernel_pages_counted'))})" for run in made]
    answer.sentences.append(
        f"After {k} rounds of merging {n(Q)} frames, forking and rewriting, under a quota of {n(Q)}: in use (counted "
        f"at most) are {both(said)}."
    )
    rfc = made[1]
    return f"{n((rfc.most('frames_ksm') or 0) / Q, 1)} times the quota after {k} rounds of fork and rewriting"


def _overrun(run: Run, limit: int) -> float:
    return ((run.most("frames_ksm") or 0) - limit) / limit


def _on(answer: Answer, runs: Runs, trace: str) -> tuple[float, list[str]]:
    # One trace; the overrun of the RFC, and the callbacks of which each alone keeps it within a percent.
    limit = _quota(runs, trace)
    designs = (DEVICE, RFC, *(f"{RFC},callbacks={one}" for one in CALLBACKS), ALL_CALLBACKS, ROLLUP, MERGED)
    made = runs.all(trace, [f"{design},max_kernel_pages={limit}" for design in designs])
    part = Column("over the quota (%)", lambda run: 100 * _overrun(run, limit), 1)
    heading = f"{trace}, max_kernel_pages={n(limit)}"
    answer.tables.append(table(heading, made, _IN_USE, _COUNTED, part, LOST_MOST, SAVED_MEAN, CPU))
    overrun = {design: _overrun(run, limit) for design, run in zip(designs, made, strict=True)}
    enough = [one for one in CALLBACKS if overrun[f"{RFC},callbacks={one}"] <= runs.parameters.about_equal]
    answer.sentences.append(
        f"`{trace}` with max_kernel_pages={n(limit)}: the RFC has up to {n(made[1].most('frames_ksm'))} merged frames "
        f"({percent(max(0.0, overrun[RFC]))} over), the device {n(made[0].most('frames_ksm'))}, `{ROLLUP}` "
        f"{n(made[-2].most('frames_ksm'))}, `{MERGED}` {n(made[-1].most('frames_ksm'))}. "
        + _enough(enough, overrun[RFC], overrun[ALL_CALLBACKS])
    )
    answer.figures.append(
        lines(
            f"quota-{trace}",
            f"Merged frames in use under a quota of {n(limit)}: {trace}",
            "What is in use, not what is counted.",
            "frames",
            [run for run, design in zip(made, designs, strict=True) if design in (DEVICE, RFC, ALL_CALLBACKS, MERGED)],
            lambda samples: samples["frames_ksm"],
        )
    )
    return overrun[RFC], enough


def _enough(enough: list[str], without: float, with_all: float) -> str:
    if without <= 0:
        return "The quota holds without any callback here."
    if enough:
        return f"Of the callbacks, {both(enough)} alone {'is' if len(enough) == 1 else 'are each'} enough to hold it."
    return f"No callback alone is enough to hold it; with all four it is {percent(max(0.0, with_all))} over."


def quota(runs: Runs) -> Answer:
    """Can max_kernel_pages be enforced?"""
    answer = Answer(
        "quota",
        "The quota of merged pages",
        "max_kernel_pages is there to bound the memory that cannot be swapped. Can it be enforced at all when merged "
        "pages get lost?",
    )
    rounds = _rounds(answer, runs)
    traces = ["prefork", "allocators", *runs.recorded("prefork-server", "growing-allocators")]
    found = {trace: _on(answer, runs, trace) for trace in traces}
    part = max(over for over, _ in found.values())
    if part <= runs.parameters.about_equal:
        answer.short = f"On these workloads the RFC keeps it within a percent; but it has {rounds}."
        return answer
    over = [f"{percent(over)} on `{trace}`" for trace, (over, _) in found.items() if over > 0]
    mended = {trace: both(list(enough)) for trace, (over, enough) in found.items() if over > 0 and enough}
    told = both([f"the one in {callbacks} on `{trace}`" for trace, callbacks in mended.items()])
    answer.short = f"Not without callbacks: the RFC exceeds it by {both(over)}, and has {rounds}. " + (
        f"What mends it by itself is {told}." if told else "No callback mends it by itself."
    )
    return answer
