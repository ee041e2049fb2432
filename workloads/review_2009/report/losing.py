"""Fork and mremap without a callback: merged pages where nobody knows of them."""

from workloads.review_2009.report.runs import Run, Runs
from workloads.review_2009.report.telling import (
    CPU,
    DEVICE,
    LOST_MEAN,
    LOST_MOST,
    MERGED,
    RFC,
    ROLLUP,
    SAVED_MEAN,
    Answer,
    Column,
    against,
    grouped,
    key,
    lines,
    n,
    saved,
    table,
)


def _lost(run: Run) -> str:
    return f"{n(run.most('lost_ptes'))} (on average {n(run.mean('lost_ptes'))})"


def _tell(answer: Answer, runs: Runs, trace: str, cause: str) -> tuple[int, Run, Run]:
    # One trace; what the RFC loses at most by the cause, the RFC, and the RFC with the callback.
    callback = answer.name
    alone, with_exit = f"{RFC},callbacks={callback}", f"{RFC},callbacks={callback},exit"
    made = runs.all(trace, (DEVICE, RFC, alone, with_exit, ROLLUP, MERGED))
    device, rfc, mended, freed, rollup, merged = made
    by_cause = rfc.most(cause) or 0
    equal = runs.parameters.about_equal
    words = against(mended["saved_bytes_mean"], rfc["saved_bytes_mean"], equal)
    further = against(freed["saved_bytes_mean"], rfc["saved_bytes_mean"], equal)
    answer.sentences += [
        f"`{trace}`: up to {_lost(rfc)} entries map merged frames of which the RFC knows nothing, up to {n(by_cause)} "
        f"of them by {callback}. The device loses up to {_lost(device)}.",
        f"With the callback the RFC loses up to {_lost(mended)}, and saves {saved(mended)} on average, {words} without "
        f"({saved(rfc)}); with one in exit too, {saved(freed)}, {further} without any.",
        f"`{ROLLUP}` and `{MERGED}` save {saved(rollup)} and {saved(merged)}. An entry is lost to `{MERGED}` until it "
        f"comes by, in passes of {n(merged.pass_s, 2)} s: {_lost(merged)}.",
    ]
    by = Column(f"most by {callback}", lambda run: run.most(cause))
    frames = Column("merged frames, mean", lambda run: run.mean("frames_ksm"))
    at_exit = key("copies_at_exit", "copies at exit")
    answer.tables.append(table(trace, made, LOST_MEAN, LOST_MOST, by, frames, SAVED_MEAN, at_exit, CPU))
    answer.figures.append(
        lines(
            f"{callback}-lost-{trace}",
            f"Entries that nobody tracks: {trace}",
            "Page-table entries that map a merged frame which no structure of the design knows.",
            "entries",
            made,
            lambda samples: samples["lost_ptes"],
        )
    )
    return by_cause, rfc, mended


def _answer(answer: Answer, runs: Runs, traces: list[str], cause: str) -> Answer:
    found = [_tell(answer, runs, trace, cause) for trace in traces]
    lost, rfc, mended = max(found, key=lambda one: one[0])
    if lost == 0:
        answer.short = f"No merged page was lost by {answer.name} on these workloads."
        return answer
    equal = runs.parameters.about_equal
    words = {rfc.trace: against(mended["saved_bytes_mean"], rfc["saved_bytes_mean"], equal) for _, rfc, mended in found}
    answer.short = (
        f"Yes: on `{rfc.trace}` up to {n(lost)} entries lead to merged pages that nobody tracks; with the callback at "
        f"most {n(mended.most(cause))}. Against going without, it saves {grouped(words)}."
    )
    return answer


def fork(runs: Runs) -> Answer:
    """Without a callback in fork."""
    answer = Answer(
        "fork",
        "Fork without a callback",
        "A fork copies page tables that have merged pages in them, and nobody tells KSM. So do merged pages not get "
        "into address spaces of which it has no knowledge?",
    )
    return _answer(answer, runs, ["prefork", "crowd", *runs.recorded("prefork-server")], "lost_by_fork")


def mremap(runs: Runs) -> Answer:
    """Without a callback in mremap."""
    answer = Answer(
        "mremap",
        "mremap without a callback",
        "mremap carries merged pages to addresses that KSM never tracked. Once the flag belongs to the mapping and "
        "travels with it, is that still a problem?",
    )
    return _answer(answer, runs, ["allocators", *runs.recorded("growing-allocators")], "lost_by_move")
