"""What this host lets a capture and a validation do, and how to get what is missing."""

import os
import platform
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ksmbench.capture.cgroup import mounts
from ksmbench.capture.host import available_bytes
from ksmbench.capture.pagemap import PageMap
from ksmbench.capture.sources import find_guests
from ksmbench.errors import KsmbenchError
from ksmbench.validate.apt import why_no_apt
from ksmbench.validate.building import why_not_built
from ksmbench.validate.sysfs import ROOT, mergeable_processes, read, why_not
from ksmbench.validate.vm import why_no_guest

_TRACING = Path("/sys/kernel/tracing")
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
_PLENTY = 2 << 30  # bytes


@dataclass(frozen=True)
class Finding:
    """One ability: whether it is there, what was seen, and the remedy where it is not ("" where it is)."""

    area: str  # capture, validate or guests
    ability: str
    ok: bool
    seen: str
    remedy: str = ""


def _capture_others() -> Finding:
    ability = "read the memory of processes of other users, and of all QEMU guests"
    if os.geteuid() == 0:
        return Finding("capture", ability, True, "this is root")
    scope = _YAMA.read_text().strip() if _YAMA.exists() else "0"
    own = "of your own processes" if scope == "0" else "only of processes that this one starts (yama's ptrace_scope)"
    return Finding("capture", ability, False, f"without root {own}", "run as root, or with CAP_SYS_PTRACE")


def _frames() -> Finding:
    ability = "tell which pages share a frame: forks, mremap, copy on write"
    with closing(PageMap(os.getpid())) as pagemap:
        if pagemap.sees_numbers:
            return Finding("capture", ability, True, "pagemap shows frame numbers")
    return Finding("capture", ability, False, "pagemap hides frame numbers", "run as root, or with CAP_SYS_ADMIN")


def _scan() -> Finding:
    ability = "find present pages quickly (PAGEMAP_SCAN)"
    with closing(PageMap(os.getpid())) as pagemap:
        if pagemap.has_scan:
            return Finding("capture", ability, True, "the kernel has it")
    seen = f"Linux {platform.release()} has it not"
    return Finding("capture", ability, False, seen, "nothing needs to be done: pagemap is read instead, more slowly")


def _memory() -> Finding:
    free = available_bytes()
    seen = f"{free / 2**30:,.1f} GiB available, of which a capture takes a quarter for distinct contents"
    remedy = "" if free >= _PLENTY else "contents go to a spool file; free some memory for speed"
    return Finding("capture", "hold contents in memory", free >= _PLENTY, seen, remedy)


def _guests() -> Finding:
    ability = "record running guests, of QEMU or other VMMs (--qemu)"
    try:
        guests = find_guests()
    except KsmbenchError:
        return Finding("capture", ability, False, "no guest is running", "start one, or name a process with --pid")
    return Finding("capture", ability, True, ", ".join(guest.name for guest in guests[:8]))


def _calls() -> Finding:
    ability = "follow system calls at their times (--calls)"
    if os.geteuid() == 0 and "tracefs" in Path("/proc/filesystems").read_text():
        return Finding("capture", ability, True, "the kernel's tracepoints, in an instance of tracefs of its own")
    if shutil.which("strace"):
        seen = "by strace, which slows the calls down; the kernel's tracepoints need root"
        return Finding("capture", ability, True, seen)
    remedy = "run as root, or apt-get install strace; without, differences between looks are recorded"
    return Finding("capture", ability, False, "neither tracefs nor strace", remedy)


def _groups() -> Finding:
    ability = "record control groups (--cgroup)"
    places = mounts()
    if places:
        return Finding("capture", ability, True, f"mounted at {', '.join(map(str, places[:2]))}")
    return Finding("capture", ability, False, "no control groups are mounted", "name processes with --pid")


def _kernel() -> Finding:
    problem = why_not()
    if problem is None:
        return Finding("validate", "step ksmd on the running kernel", True, f"Linux {platform.release()} with KSM")
    remedy = "run as root on a host whose kernel has CONFIG_KSM and whose KSM nobody else uses"
    return Finding("validate", "step ksmd on the running kernel", False, problem, remedy)


def _alone() -> Finding:
    others = mergeable_processes()
    if not others:
        return Finding("validate", "be alone in KSM", True, "no process is mergeable")
    seen = f"mergeable: {', '.join(others[:8])}"
    return Finding("validate", "be alone in KSM", False, seen, "end them first, or start guests with mem-merge=off")


def _compiler() -> Finding:
    problem = why_not_built()
    seen = problem or "a C compiler is there"
    remedy = "apt-get install gcc libc6-dev" if problem else ""
    return Finding("validate", "compile the player", problem is None, seen, remedy)


def _merge_events() -> Finding:
    ability = "compare merge events (events/ksm)"
    if os.access(_TRACING / "events" / "ksm", os.R_OK | os.X_OK):
        return Finding("validate", ability, True, "tracefs shows them")
    if os.geteuid() == 0 and not os.path.ismount(_TRACING) and "tracefs" in Path("/proc/filesystems").read_text():
        return Finding("validate", ability, True, "validate mounts tracefs while it needs it")
    remedy = "run as root on Linux 6.2 or later with tracefs"
    return Finding("validate", ability, False, "tracefs does not show them here", remedy)


def _other_kernels() -> Finding:
    ability = "boot other kernels (validate --kernel)"
    problem = why_no_guest() or why_no_apt()
    if problem is None:
        return Finding("guests", ability, True, f"{shutil.which('qemu-system-x86_64')} and Debian's archive")
    what, _, remedy = problem.rpartition(": ")
    return Finding("guests", ability, False, what or problem, remedy if what else "")


def _settings() -> Finding:
    if not ROOT.is_dir():
        return Finding("validate", "read KSM's settings", False, "this kernel has no KSM", "boot one with CONFIG_KSM")
    seen = ", ".join(f"{name}={read(name)}" for name in ("run", "pages_to_scan", "sleep_millisecs"))
    return Finding("validate", "read KSM's settings", True, seen)


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _capture_others,
    _frames,
    _scan,
    _memory,
    _guests,
    _groups,
    _calls,
    _settings,
    _kernel,
    _alone,
    _compiler,
    _merge_events,
    _other_kernels,
)


def examine() -> list[Finding]:
    """Every ability, in the order of the commands that need it. Changes nothing on the host."""
    return [check() for check in _CHECKS]


def document(findings: list[Finding]) -> dict[str, Any]:
    """The findings as JSON takes them."""
    return {"kernel": platform.release(), "machine": platform.machine(), "findings": [asdict(f) for f in findings]}


def text(findings: list[Finding]) -> str:
    """The findings as a table for a terminal, areas apart, with what to do below what is missing."""
    lines = [f"Linux {platform.release()} on {platform.machine()}"]
    area = ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            lines += ["", area]
        lines.append(f"  {'yes' if finding.ok else 'no ':<4}{finding.ability}: {finding.seen}")
        if finding.remedy:
            lines.append(f"        -> {finding.remedy}")
    return "\n".join(lines)
