"""run=0, processes that were never modified, and write protection through the reverse map."""

from workloads.review_2009.report.runs import MIB, STOPPED, Run, Runs
from workloads.review_2009.report.telling import (
    CPU,
    DEVICE,
    MERGED,
    RFC,
    ROLLUP,
    SAVED_MEAN,
    Answer,
    Column,
    against,
    both,
    key,
    lines,
    mib,
    n,
    percent,
    saved,
    table,
)


def _frames_at(run: Run, seconds: float) -> int:
    return int(run.samples.filter(run.seconds <= seconds)["frames"][-1])


def _back_after(runs: Runs, run: Run) -> float | None:
    # Seconds from run=1 until nine tenths of the share of the oracle's saving before the stop are there again.
    none, oracle = (runs.bound(run.trace, name) for name in ("none", "oracle"))
    share = (none - run.samples["frames"]) / (none - oracle)
    before = share.filter(run.seconds < runs.parameters.stop_at)[-1]
    later = run.seconds >= runs.parameters.resume_at
    again = run.seconds.filter(later & (share >= 0.9 * before))
    return None if again.is_empty() else float(again[0]) - runs.parameters.resume_at


def _grown(runs: Runs, run: Run) -> int:
    # Frames in use a second after the stop, more than right before.
    stop_at = runs.parameters.stop_at
    return _frames_at(run, stop_at + 1) - _frames_at(run, stop_at - 1)


def _stop_table(answer: Answer, runs: Runs, made: list[Run]) -> None:
    stop_at = runs.parameters.stop_at
    columns = (
        Column("a second before (MiB)", lambda run: _frames_at(run, stop_at - 1) * run.page_size / MIB, 1),
        Column("a second after (MiB)", lambda run: _frames_at(run, stop_at + 1) * run.page_size / MIB, 1),
        key("frames_peak", "most ever (MiB)", 1, 4096 / MIB),
        key("copies_at_stop", "copies at the stop"),
        Column("90 % back after (s)", lambda run: _back_after(runs, run), 0),
    )
    answer.tables.append(table(made[0].trace, made, *columns, SAVED_MEAN))


def stop(runs: Runs) -> Answer:
    """echo 0 > run."""
    answer = Answer(
        "stop",
        "echo 0 > run",
        "In the RFC a 0 in `run` throws all merged memory away, so that what only KSM holds does not stay for ever. "
        "What does that cost, beside a 0 that only pauses?",
    )
    made = runs.all(f"vms{STOPPED}0", (DEVICE, RFC, ROLLUP, MERGED))
    unmerged = runs.all(f"vms{STOPPED}2", (ROLLUP, MERGED))
    _stop_table(answer, runs, made)
    _stop_table(answer, runs, unmerged)
    rfc, paused = made[1], [run for run in made if run.design != RFC]
    back = _back_after(runs, rfc)
    regained = "is not regained" if back is None else f"is regained {n(back)} s after run=1"
    copies = max(run["copies_at_stop"] for run in paused)
    answer.sentences += [
        f"`{rfc.trace}`: the RFC makes {n(rfc['copies_at_stop'])} copies at once, and {mib(_grown(runs, rfc))} more "
        f"are in use; nine tenths of its part of the oracle's saving {regained}.",
        f"The others make {n(copies)} copies at run=0; in the same two seconds memory in use changes by "
        f"{both([mib(_grown(runs, run)) for run in paused])}, by what the guests do.",
        f"Where it is wanted, run=2 does the same: `{ROLLUP}` makes {n(unmerged[0]['copies_at_stop'])} copies, "
        f"`{MERGED}` {n(unmerged[1]['copies_at_stop'])}.",
    ]
    answer.figures.append(
        lines(
            "stop-frames",
            "Memory in use around run=0",
            f"run=0 at {n(runs.parameters.stop_at)} s, run=1 at {n(runs.parameters.resume_at)} s.",
            "MiB",
            made,
            lambda one: one["frames"] * 4096 / MIB,
        )
    )
    pause = "A pause makes none" if copies == 0 else f"A pause makes {n(copies)}"
    answer.short = (
        f"In the RFC it makes {n(rfc['copies_at_stop'])} copies on `vms` and takes {mib(_grown(runs, rfc))} at once; "
        f"what was saved {regained}. {pause}, and run=2 is there for those who want their pages back."
    )
    return answer


def unmodified(runs: Runs) -> Answer:
    """merge_pid."""
    answer = Answer(
        "unmodified",
        "Scanning processes that were not modified",
        "The last patch lets an administrator name a process that never asked for merging. Useful for testing; but "
        "doing things to other processes calls for caution. What would it bring, and what would it do to them?",
    )
    trace = "unmodified"
    named = f"{RFC},merge_pid=0"
    plain, with_pid, merged = runs.all(trace, (RFC, named, MERGED))
    asked = runs.one(trace, MERGED, mergeable="never-asked")
    columns = (
        key("saved_bytes", "saved at the end (MiB)", 1, 1 / MIB),
        SAVED_MEAN,
        key("cow_breaks", "copies"),
        key("pages_scanned", "pages scanned"),
        CPU,
    )
    made = [plain, with_pid, merged, asked]
    answer.tables.append(table(trace, made, *columns))
    words = against(with_pid["saved_bytes_mean"], plain["saved_bytes_mean"], runs.parameters.about_equal)
    copies = with_pid["cow_breaks"] - plain["cow_breaks"]
    answer.sentences += [
        f"With `merge_pid` the RFC saves {saved(with_pid)} on average, {words} without ({saved(plain)}), for "
        f"{percent(with_pid['scan_cost_cpu_share'], 2)} of a CPU instead of "
        f"{percent(plain['scan_cost_cpu_share'], 2)}.",
        f"The named process pays with {n(copies)} more copies, each a fault at a write that it did not expect: "
        f"{n(copies / with_pid['seconds'], 1)} per second.",
        f"`{MERGED}` would save {saved(asked)} if the process had asked by itself, {saved(merged)} as it is.",
    ]
    none = runs.bound(trace, "none")
    answer.figures.append(
        lines(
            "unmodified-saved",
            "Memory saved over time: unmodified",
            "Space 0 is the process that never asked.",
            "MiB saved",
            made,
            lambda one: (none - one["frames"]) * 4096 / MIB,
        )
    )
    answer.short = (
        f"It saves {words} leaving the process alone ({saved(with_pid)}, {saved(plain)} on average), at {n(copies)} "
        "faults that it did not ask for."
    )
    return answer


def wrprotect(runs: Runs) -> Answer:
    """page_wrprotect."""
    answer = Answer(
        "wrprotect",
        "page_wrprotect's redundancy",
        "Before a page is merged it is write-protected in every address space that maps it, found through the reverse "
        "map. A page in more than one is write-protected already; is not the one entry at hand enough?",
    )
    same, compared, most = True, 0, (0.0, "")
    per_page = Column(
        "entries per page", lambda run: run["wrprotect_ptes"] / run["merges"] if run["merges"] else None, 2
    )
    for trace in ("prefork", "crowd", "vms", *runs.recorded("prefork-server")):
        made = runs.all(trace, [f"{design},wrprotect={how}" for design in (RFC, DEVICE) for how in ("rmap", "pte")])
        answer.tables.append(
            table(trace, made, key("merges", "merges"), key("wrprotect_ptes", "entries visited"), per_page)
        )
        for rmap, pte in (made[:2], made[2:]):
            outcomes = [run.samples.drop("wrprotect_ptes", "cpu_ns", "time_ns") for run in (rmap, pte)]
            same = same and outcomes[0].equals(outcomes[1])
            compared += outcomes[0].height * outcomes[0].width
            ratio = rmap["wrprotect_ptes"] / max(1, pte["wrprotect_ptes"])
            most = max(most, (ratio, f"`{trace}` in `{rmap.label.split(',')[0]}`"))
    told = "were all equal" if same else "were not all equal"
    answer.sentences.append(
        f"Of each pair of runs every counter at every sample was compared, {n(compared)} values: they {told}."
    )
    answer.sentences.append(
        "A replay has no races, so this tells that no decision hangs on the other entries; why they need no protection "
        "is that a fork has write-protected them already."
    )
    answer.sentences.append(
        f"What the reverse map costs is greatest on {most[1]}: {n(most[0], 1)} times as many entries are visited."
    )
    answer.short = (
        f"Yes, it is redundant: {n(compared)} values {told}, and it visits up to {n(most[0], 1)} times as many entries."
        if same
        else f"Not quite: {n(compared)} values {told}; it visits up to {n(most[0], 1)} times as many entries."
    )
    return answer
