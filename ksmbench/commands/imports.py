"""`ksmbench import`."""

from pathlib import Path

import click

from ksmbench.commands import shared
from ksmbench.commands.progress import progress_bar
from ksmbench.errors import UsageError

# For --help, which must not wait for numba; a test compares them with the readers.
FORMATS = ("raw", "elf", "lime", "firecracker", "cloud-hypervisor", "criu", "strace", "perf", "ftrace")
ZEROES = ("frames", "read", "absent")


@click.command("import")
@click.argument("format_name", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@shared.new_trace
@click.option("--at", "at_s", multiple=True, type=float, help="Seconds of trace time of a file, one for each in order.")
@click.option("--name", "names", multiple=True, help="The space that a file is of, one for each in order.")
@click.option(
    "--zeroes",
    default=ZEROES[0],
    show_default=True,
    type=click.Choice(ZEROES),
    help="What a page of zeros in a file is: a frame, the kernel's zero page (only read), or not there.",
)
@click.option("--mergeable", is_flag=True, help="As if every mapping had been advised MADV_MERGEABLE.")
@click.option("--keep-contents", is_flag=True, help="Keep the pages' bytes in the trace, as combine needs them.")
@click.option("--log", default="", metavar="FORMAT:FILE", help="What happened between dumps (elf, criu) of processes.")
@click.option("--log-start", default="", metavar="TIME", help="The log's time at second 0 [default: its first call].")
@click.option("--label", default="", help="A name for plots [default: the first file's].")
@shared.force_trace
@shared.as_json
def import_(
    format_name: str,
    files: tuple[Path, ...],
    output: Path,
    at_s: tuple[float, ...],
    names: tuple[str, ...],
    zeroes: str,
    mergeable: bool,
    keep_contents: bool,
    log: str,
    log_start: str,
    label: str,
    force: bool,
    as_json: bool,
) -> None:
    """Make a trace of memory dumps, or of a log of system calls, that other tools made.

    \b
    raw               guest memory from address 0 on: QMP pmemsave, .vmem
    elf               cores: dump-guest-memory, virsh dump --memory-only, gcore
    lime              LiME
    firecracker       a full memory file; further ones, with --at, are diffs
    cloud-hypervisor  a snapshot's folder
    criu              a folder of images
    strace            a log of strace -f -ttt -y -e trace=%memory,%process,prctl
    perf              the text of perf script
    ftrace            the text of tracefs' trace or trace_pipe, or of trace-cmd report

    The last three are logs of system calls: mappings, advice and forks, no contents. perf and ftrace need the events
    'syscalls:sys_*_m*,syscalls:sys_*_brk,syscalls:sys_*_prctl,task:task_newtask,sched:sched_process_*'.

    Several files are several spaces at time 0; with --at they are moments of one space, or of those that --name names.
    Memory that a file leaves out, as a hole or altogether, is absent.

    With --log, the dumps of processes are moments of what a log of system calls tells: --at counts from --log-start,
    which is a time of the log's clock (strace: seconds since 1970, or as 2026-11-25T10:00:00; perf and ftrace: the
    seconds that stand in their lines).

    \b
    Example: ksmbench import elf a.core b.core -o two --mergeable
             ksmbench import raw first later -o guest --at 0 --at 60
             ksmbench import elf early.core late.core --at 5 --at 60 --log perf:script.txt -o service
    """
    from ksmbench.commands.reshaped import print_made, refuse_in_the_way
    from ksmbench.imports.importing import Wanted, import_dumps, ranked_pages
    from ksmbench.imports.joining import import_joined
    from ksmbench.trace.ranking import ContentStore
    from ksmbench.trace.store import write_trace

    refuse_in_the_way(output, force)
    if log_start and not log:
        raise UsageError("--log-start is about a log; name it with --log")
    wanted = Wanted(format_name, files, at_s, names, zeroes, mergeable, label, log, log_start)
    with ContentStore() as store:
        with progress_bar("reading") as tell:
            trace, notes = (import_joined if log else import_dumps)(wanted, store, tell)
        write_trace(trace, output, force=force, pages=ranked_pages(store) if keep_contents else None)
    print_made(output, trace, notes, as_json)
