"""Which list ksmd walks, and how long a killed process's memory stays because of it."""

import polars as pl

from workloads.review_2009.report.runs import MIB, Run, Runs
from workloads.review_2009.report.telling import (
    CPU,
    DEVICE,
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
    key,
    lines,
    mib,
    n,
    percent,
    saved,
    table,
)

_BY_VMA = f"{ROLLUP},list=vma"
_PASS = Column("a pass (s)", lambda run: run.pass_s, 2)
_LONGEST = Column("the longest (s)", lambda run: run.longest_pass_s, 1)
_STEPS = [
    key(f"steps_{kind}_share", f"steps on {what} (%)", 1, 100)
    for kind, what in (("absent", "absent pages"), ("dead", "the dead"), ("idle", "idle spaces"))
]


def _steps(run: Run) -> int:
    return sum(run[name] or 0 for name in ("pages_scanned", "steps_absent", "steps_dead", "steps_idle"))


def _share(run: Run, name: str) -> str:
    return percent(run[f"steps_{name}_share"], 2)


def lists(runs: Runs) -> Answer:
    """mmlist, or a list of its own, by mm or by vma."""
    answer = Answer(
        "lists",
        "mmlist or a list of its own, by mm or by vma",
        "Sharing swapoff's list of all mms spares a field, but an mm stays on it until it dies. Would a list of KSM's "
        "own be clearer? And should it hold mms or mappings?",
    )
    all_steps = Column("steps (thousands)", lambda run: _steps(run) / 1000)
    first: list[Run] = []
    for trace in ("idle", "crowd"):
        made = runs.all(trace, (RFC, ROLLUP, _BY_VMA, MERGED))
        first = first or made
        ninety = key("time_to_90_percent_s", "90 % reached after (s)", 0)
        answer.tables.append(table(trace, made, all_steps, *_STEPS, _PASS, _LONGEST, ninety, SAVED_MEAN, METADATA, CPU))
        rfc, by_mm, by_vma, merged = made
        answer.sentences.append(
            f"`{trace}`: address spaces with nothing to merge take {_share(rfc, 'idle')} of the RFC's steps, "
            f"{_share(by_mm, 'idle')} with a list of mms and {_share(by_vma, 'idle')} with one of mappings; the dead "
            f"{_share(rfc, 'dead')}, {_share(by_mm, 'dead')} and {_share(by_vma, 'dead')}; absent pages "
            f"{_share(rfc, 'absent')}, {_share(by_mm, 'absent')} and {_share(by_vma, 'absent')}."
        )
        late = " (the RFC ends a batch wherever it makes a slot for a space with nothing to scan)"
        is_late = (rfc.longest_pass_s or 0) > 1.5 * (by_mm.longest_pass_s or 0)
        answer.sentences.append(
            f"A pass takes {n(rfc.pass_s, 2)} s, {n(by_mm.pass_s, 2)} s and {n(by_vma.pass_s, 2)} s, the longest about "
            f"{n(rfc.longest_pass_s, 1)} s, {n(by_mm.longest_pass_s, 1)} s and {n(by_vma.longest_pass_s, 1)} s"
            f"{late if is_late else ''}. In `{MERGED}`, which passes over absent pages within its budget for present "
            f"ones, it takes {n(merged.pass_s, 2)} s."
        )
    title = "Memory saved over time: idle"
    note = "After some seconds a few processes with equal pages come, among thousands that have nothing left to merge."
    none = runs.bound("idle", "none")
    answer.figures.append(
        lines("lists-idle", title, note, "MiB saved", first, lambda one: (none - one["frames"]) * 4096 / MIB)
    )
    rfc, by_mm, by_vma, merged = first
    equal = runs.parameters.about_equal
    own = against(by_mm["saved_bytes_mean"], rfc["saved_bytes_mean"], equal)
    form = against(by_vma["saved_bytes_mean"], by_mm["saved_bytes_mean"], equal)
    absent = against(merged["saved_bytes_mean"], by_mm["saved_bytes_mean"], equal)
    answer.short = (
        f"On `idle` a list of its own saves {own} mmlist on average ({saved(by_mm)}, {saved(rfc)}), and one by vma "
        f"{form} one by mm ({saved(by_vma)}). Whether absent pages use up the budget changes "
        f"{'more' if _change(merged, by_mm) > _change(by_mm, rfc) else 'less'}: `{MERGED}`, where they do not, saves "
        f"{absent} the rollup ({saved(merged)}), for {percent(merged['scan_cost_cpu_share'])} of a CPU instead of "
        f"{percent(by_mm['scan_cost_cpu_share'])}."
    )
    return answer


def _change(one: Run, other: Run) -> float:
    return abs(float(one["saved_bytes_mean"]) - float(other["saved_bytes_mean"]))


_DELAY = key("longest_exit_delay_s", "longest delay (s)", 2)
_DEAD = Column("of the dead, most (MiB)", lambda run: (run["dead_pages_most"] or 0) * run.page_size / MIB, 1)
_DEAD_SECONDS = key("dead_byte_seconds", "of the dead (MiB·s)", 1, 1 / MIB)
_COPIES = key("copies_at_exit", "copies at exit")
_PEAK = key("frames_peak", "in use, most ever (MiB)", 1, 4096 / MIB)


def _rates(answer: Answer, runs: Runs, traces: list[str]) -> None:
    # How the delay goes with the length of a pass.
    rates, parts = runs.parameters.rates, []
    for trace in traces:
        made = runs.all(trace, [f"{RFC},pages_to_scan={rate}" for rate in rates])
        delays = [float(run["longest_exit_delay_s"]) for run in made]
        parts.append(pl.DataFrame({"label": trace, "x": [float(rate) for rate in rates], "value": delays}))
        in_passes = [delay / run.pass_s for delay, run in zip(delays, made, strict=True) if run.pass_s]
        answer.sentences.append(
            f"`{trace}`, from {n(rates[0])} to {n(rates[-1])} pages per batch: the longest delay goes from "
            f"{n(delays[0], 1)} s to {n(delays[-1], 1)} s, {n(min(in_passes), 1)} to {n(max(in_passes), 1)} passes."
        )
    note = f"`{RFC}`: the longest that the memory of an exited process was held."
    title = "Delay from exit to free, by how much is scanned in a batch"
    answer.figures.append(Figure("delay-rates", title, note, "s", pl.concat(parts), "pages_to_scan"))


def delay(runs: Runs) -> Answer:
    """From kill to free."""
    answer = Answer(
        "delay",
        "The delay from kill to free",
        "KSM holds a reference on every address space, and finds out when it walks that nobody else does. How long "
        "does a killed process's memory stay, and what does it cost?",
    )
    traces = ["vms", "prefork", *runs.recorded("guests-come-and-go")]
    held: dict[str, Run] = {}
    for trace in traces:
        designs = (*(f"{DEVICE},fd={fd}" for fd in ("exit", "inherited", "held")), RFC, f"{RFC},callbacks=exit")
        made = runs.all(trace, (*designs, ROLLUP, MERGED))
        held[trace] = rfc = made[3]
        answer.tables.append(table(trace, made, _DELAY, _PASS, _DEAD, _DEAD_SECONDS, _COPIES, _PEAK, SAVED_MEAN))
        answer.sentences.append(
            f"`{trace}`: the RFC holds up to {mib(rfc['dead_pages_most'])} that only the dead have, for up to "
            f"{n(rfc['longest_exit_delay_s'], 1)} s, and makes {n(rfc['copies_at_exit'])} copies only to free them. "
            f"With a callback in exit: {mib(made[4]['dead_pages_most'])}, {n(made[4]['longest_exit_delay_s'], 1)} s, "
            f"{n(made[4]['copies_at_exit'])} copies. `{MERGED}`: {mib(made[6]['dead_pages_most'])}, "
            f"{n(made[6]['longest_exit_delay_s'], 1)} s, {n(made[6]['copies_at_exit'])}."
        )
        answer.sentences.append(
            f"The device makes {n(made[0]['copies_at_exit'])} copies where each exit closes it. "
            + (
                f"Where forked children hold it too, up to {mib(made[1]['dead_pages_most'])} stay, for up to "
                f"{n(made[1]['longest_exit_delay_s'], 1)} s; "
                if made[1]["longest_exit_delay_s"]
                else "That forked children hold it too changes nothing here; "
            )
            + f"where somebody holds it to the end, {mib(made[2]['dead_pages_most'])} stay."
        )
        note = f"Frames that only exited processes map. `{DEVICE},fd=held`, which frees none, is left out."
        shown = [run for i, run in enumerate(made) if i != 2 and (run["dead_pages_most"] or run.design == MERGED)]
        title = f"Memory of the dead: {trace}"
        answer.figures.append(
            lines(f"delay-{trace}", title, note, "MiB", shown, lambda one: one["dead_pages"] * 4096 / MIB)
        )
    _rates(answer, runs, traces[:2])
    longest = held[max(traces, key=lambda trace: held[trace]["longest_exit_delay_s"])]
    passes = longest["longest_exit_delay_s"] / longest.pass_s if longest.pass_s else None
    amounts = [f"{mib(held[trace]['dead_pages_most'])} on `{trace}`" for trace in traces]
    rest = (f"{RFC},callbacks=exit", ROLLUP, MERGED)
    left = max(run["longest_exit_delay_s"] for trace in traces for run in runs.all(trace, rest))
    answer.short = (
        f"In the RFC up to {n(longest['longest_exit_delay_s'], 1)} s on `{longest.trace}`, {n(passes, 1)} passes; the "
        f"dead hold up to {both(amounts)}. With a callback in exit, in `{ROLLUP}` and in `{MERGED}` "
        + ("there is no delay." if left == 0 else f"it is at most {n(left, 2)} s.")
    )
    return answer
