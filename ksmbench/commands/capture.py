"""`ksmbench capture`."""

import json
import math
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ksmbench.commands import shared
from ksmbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ksmbench.capture.command import Started
    from ksmbench.capture.manifest import Options
    from ksmbench.capture.session import Progress, Recorded, Session

_COMMAND = "ksmbench.capture.command"


def _progress(duration: float | None) -> "Callable[[Progress], None] | None":
    if not sys.stderr.isatty():
        return None

    def show(now: "Progress") -> None:
        left = "" if duration is None else f" of {duration:g} s, {max(0.0, duration - now.elapsed_s):.0f} s left"
        click.echo(
            f"\r{now.elapsed_s:.0f} s{left}: {now.n_alive} running, {now.n_events:,} events, "
            f"{now.n_contents:,} contents, {now.pages_per_s:,.0f} pages/s\x1b[K",
            nl=False,
            err=True,
        )

    return show


def _told(calls: dict[str, Any]) -> str:
    # Who told the system calls, and whether all were told.
    if "applied" not in calls:
        return f"not told ({calls['why']})"
    return f"{calls['applied']:,} by {calls['source']}; {calls['lost']:,} events lost"


def _table(recorded: "Recorded", facts: dict[str, Any]) -> str:
    rows = [
        ("spaces", f"{recorded.n_spaces:,}"),
        ("pages at the last look", f"{recorded.n_pages:,}"),
        ("distinct contents", f"{recorded.n_contents:,}"),
        ("events", f"{recorded.n_events:,}"),
        ("system calls", _told(facts["system_calls"])),
        ("size of the trace", f"{recorded.size / 2**20:,.2f} MiB"),
        ("CPU time of the capture", f"{100 * recorded.cpu_share:.1f} % of one CPU"),
        ("time spent reading", f"{100 * recorded.reading_share:.1f} %"),
        ("time spent on checkpoints", f"{100 * recorded.checkpoint_share:.1f} %"),
    ]
    return "\n".join(f"  {name:<26}{value}" for name, value in rows)


def _remarks(facts: dict[str, Any]) -> list[str]:
    # What did not go as asked.
    remarks = []
    saved = facts.get("looks_left_out_for_max_cpu", 0)
    if saved:
        share = 100 * facts["cpu_share_since_first_look"]
        apart = facts["end"]["time_ns"] / 1e9 / max(1, facts["looks"] - 1)
        remarks.append(f"{saved} looks were left out for --max-cpu: one in {apart:.1f} s, {share:.1f} % of one CPU")
    if late := facts["looks_left_out"] - saved:
        remarks.append(f"{late} looks were left out, since those before took longer than --interval")
    if skipped := facts["processes_not_in_last_look"]:
        remarks.append(f"--duration was over in the last look: processes that are as they were seen before: {skipped}")
    if unstopped := facts.get("stops_left_out"):
        remarks.append(f"{unstopped} stops were left out: the process that would have ended them was killed")
    if denied := facts["processes_not_readable_any_more"]:
        remarks.append(f"processes that executed what may not be looked at, and end there in the trace: {denied}")
    if unread := facts.get("children_not_readable"):
        remarks.append(f"children and members that could not be recorded (rights, or too many open files): {unread}")
    if lost := facts["system_calls"].get("lost"):
        remarks.append(f"{lost:,} events of system calls were lost: what they told is there from the next look on")
    return remarks


class _Seconds(click.FloatRange):
    # NaN passes every comparison with a bound.
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value} is no length of time", param, ctx)
        return seconds


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    # 10 or 10%, as a share.
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    if not 0 < share < math.inf:
        raise click.BadParameter(f"{value} is no percentage above 0", ctx, param)
    return share


def _pids(given: tuple[int, ...], words: tuple[str, ...]) -> list[int]:
    for word in words:
        if not word.isdecimal():
            raise UsageError(f"{word} is no process id; --pid takes numbers, names of guests go with --qemu")
    return [*given, *map(int, words)]


class _WithCommand(click.Command):
    # What follows "--" is a command with options of its own.
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = args[at + 1 :] if at < len(args) else None
        return super().parse_args(ctx, args[:at])


@dataclass(frozen=True)
class _Asked:
    """What the command line says, under the names of its options."""

    words: list[str] | None  # of a command to record
    names: tuple[str, ...]
    output: Path
    qemu: bool
    pids: tuple[int, ...]
    cgroup: str | None
    children: bool | None
    selection: str
    interval: float
    duration: float | None
    max_cpu: float | None
    max_spool: str | None
    stop_ms: float
    calls: str
    key: str | None
    keep_contents: bool
    anonymize: bool
    label: str
    notes: str
    recipe: str
    force: bool
    as_json: bool

    @property
    def follow(self) -> bool:
        """Whether children are recorded too."""
        return not self.qemu if self.children is None else self.children


def _check(asked: _Asked) -> None:
    from ksmbench.capture.session import check_output

    if asked.qemu + bool(asked.pids) + (asked.cgroup is not None) + (asked.words is not None) != 1:
        raise UsageError("say what to record: --qemu, --pid N, --cgroup PATH or -- COMMAND, one of the four")
    if asked.names and not asked.qemu and not asked.pids:
        raise UsageError(f"{asked.names[0]} says nothing here; names of guests go with --qemu, a command goes after --")
    check_output(asked.output, asked.force)


def _session(asked: _Asked) -> "tuple[Session, Started | None]":
    from ksmbench.capture.cgroup import find_group
    from ksmbench.capture.command import Started
    from ksmbench.capture.session import Session
    from ksmbench.capture.sources import find_guests, find_processes

    started = None if asked.words is None else Started(asked.words, asked.follow, asked.selection)
    group = None if asked.cgroup is None else find_group(asked.cgroup)
    if asked.qemu:
        sources = find_guests(asked.names, follow=asked.follow, selection=asked.selection)
    else:
        pids = _pids(asked.pids, asked.names)
        sources = find_processes(pids, follow=asked.follow, selection=asked.selection)
    session = Session(sources, _options(asked, "" if group is None else str(group.folder)), started, group)
    if asked.keep_contents:
        from ksmbench.capture.disclosure import keep_from_others

        keep_from_others()
        click.echo(f"warning: {asked.output} will hold what is in this memory, also passwords and keys", err=True)
    return session, started


def _options(asked: _Asked, cgroup: str) -> "Options":
    from ksmbench.capture.disclosure import read_key
    from ksmbench.capture.manifest import Options
    from ksmbench.commands.options import parse_size

    return Options(
        asked.output,
        asked.interval,
        asked.duration,
        stop_s=asked.stop_ms / 1000,
        force=asked.force,
        label=asked.label,
        notes=asked.notes,
        recipe=asked.recipe,
        command=["ksmbench", *sys.argv[1:]],
        selection=asked.selection,
        calls=asked.calls,
        follow=asked.follow,
        cgroup=cgroup,
        key=b"" if asked.key is None else read_key(asked.key),
        keep_contents=asked.keep_contents,
        anonymous=asked.anonymize,
        max_cpu_share=asked.max_cpu,
        max_spool_bytes=None if asked.max_spool is None else parse_size(asked.max_spool),
    )


def _end_on_signals(session: "Session") -> None:
    def end(*_: object) -> None:
        session.interrupt()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second one does not wait

    signal.signal(signal.SIGUSR1, lambda *_: session.mark())
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
        signal.signal(signal.SIGHUP, end)


def _document(asked: _Asked, facts: dict[str, Any], recorded: "Recorded") -> dict[str, Any]:
    return {
        "trace": str(asked.output),
        "spaces": recorded.n_spaces,
        "events": recorded.n_events,
        "distinct_contents": recorded.n_contents,
        "pages_at_last_look": recorded.n_pages,
        "seconds": facts["end"]["time_ns"] / 1e9,
        "file_bytes": recorded.size,
        "cpu_share": recorded.cpu_share,
        "reading_share": recorded.reading_share,
        "checkpoint_share": recorded.checkpoint_share,
        "notes": _remarks(facts),
        "capture": facts,
    }


def _print(asked: _Asked, facts: dict[str, Any], recorded: "Recorded") -> None:
    if asked.as_json:
        click.echo(json.dumps(_document(asked, facts, recorded), indent=2))
        return
    end = facts["end"]
    whom = f"{end['time_ns'] / 1e9:.1f} s of {len(facts['sources'])} recorded in {facts['looks']} looks"
    click.echo(f"{asked.output}: {whom}; ended: {end['reason']}")
    for remark in _remarks(facts):
        click.echo(remark)
    click.echo(_table(recorded, facts))


@click.command(cls=_WithCommand, options_metavar="[OPTIONS]")
@click.argument("names", nargs=-1, metavar="[NAME|PID]... [-- COMMAND...]")
@shared.new_trace
@click.option("--qemu", is_flag=True, help="Record running guests, also other VMMs': all, or those named.")
@click.option("--pid", "pids", multiple=True, type=click.IntRange(1), help="Record this process; more may follow.")
@click.option(
    "--cgroup",
    metavar="PATH",
    help="Record a control group: who is in it, or below it, at any look. As it is called in /proc/PID/cgroup, or its "
    "folder.",
)
@click.option(
    "--children/--no-children",
    default=None,
    help="Record the processes that these start, too [default: yes; no with --qemu].",
)
@click.option(
    "--select",
    "selection",
    default="anonymous",
    show_default=True,
    type=click.Choice(("mergeable", "anonymous", "all")),
    help="Memory to record: what asked for merging; all that KSM could merge (of a VM: the guest's); or the whole "
    "address space, what KSM never merges without its contents.",
)
@click.option("--interval", default=1.0, show_default=True, type=_Seconds(0.01), help="Seconds from look to look.")
@click.option(
    "--duration",
    type=_Seconds(0, min_open=True),
    help="Seconds to record [default: until Ctrl-C, or every process ended and the group is gone]. A COMMAND that "
    "still runs is terminated.",
)
@click.option(
    "--max-cpu",
    callback=_share,
    metavar="PERCENT",
    help="Leave looks out so that the capture takes at most so much of one CPU; the first look is not counted.",
)
@click.option("--max-spool", metavar="SIZE", help="End in order before contents take more disk than this, as 20G.")
@click.option(
    "--stop",
    "stop_ms",
    default=0.0,
    show_default=True,
    type=_Seconds(0, 10_000),
    help="Milliseconds for which a process may be stopped at each look.",
)
@click.option(
    "--calls",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "tracefs", "strace", "none"]),
    help="Who tells the system calls: the kernel's tracepoints, strace, or nobody; auto: the first that can.",
)
@click.option(
    "--key",
    metavar="FILE|HEX",
    help="Add fingerprints: hashes under this key, by which traces of one key can be combined.",
)
@click.option("--keep-contents", is_flag=True, help="Keep the contents themselves in the trace, for you alone to read.")
@click.option(
    "--anonymize",
    is_flag=True,
    help="Replace names of processes, guests and mappings, ids, the command line and what is special about the host.",
)
@click.option("--label", default="", help="A name for plots [default: the trace's].")
@click.option("--notes", default="", help="A text for the manifest.")
@click.option("--recipe", default="", help="For the manifest: the command that makes such a trace again.")
@shared.force_trace
@shared.as_json
def capture(**given: Any) -> None:
    """Record the memory of running VMs or processes: what is there at first, then what changes.

    A trace is there from the first look on and grows as the capture runs; Ctrl-C ends it in order. Page contents
    themselves are written only with --keep-contents.

    SIGUSR1 makes it look at once, write a mark ("snapshot 1", "snapshot 2" …) and publish the trace as it is then: that
    is done when "marks" in its trace.json has risen. Send it once there is a trace.

    \b
    Example: ksmbench capture --qemu -o today --interval 1 --duration 60
             ksmbench capture --qemu web-1 web-2 -o web
             ksmbench capture --pid 4711 4712 -o workers
             ksmbench capture --cgroup system.slice/postgresql.service -o database --duration 300
             ksmbench capture -o sorting --interval 0.5 -- sort -S 500M words
    """
    asked = _Asked(words=click.get_current_context().meta[_COMMAND], **given)
    _check(asked)
    session, started = _session(asked)
    _end_on_signals(session)
    show = _progress(asked.duration)
    try:
        facts = session.run(show, lambda text: click.echo(f"warning: {text}", err=True))
    finally:
        if started is not None:
            started.end()
        if show is not None:
            click.echo(err=True)
    _print(asked, facts, session.recorded())
