"""What the kernel says of KSM on this host and of one process's part in it."""

import os
import platform
from pathlib import Path
from typing import Any

from ksmbench.capture.host import ksm_settings
from ksmbench.capture.procfs import ProcessGoneError, read_text
from ksmbench.errors import KsmbenchError

_COUNTERS = ("ksm_rmap_items", "ksm_zero_pages", "ksm_merging_pages", "ksm_process_profit")


def whether_it_runs(settings: dict[str, int | str]) -> list[str]:
    """Return what about this host's settings keeps anything from merging, one sentence each."""
    if not settings:
        return [f"this kernel ({platform.release()}) has no KSM: nothing merges here"]
    start = "echo 1 > /sys/kernel/mm/ksm/run"
    if settings.get("run") == 0:
        return [f"KSM is off (run is 0): nothing merges on this host before `{start}`"]
    if settings.get("run") == 2:
        return [f"KSM unmerges (run is 2): nothing merges on this host before `{start}`"]
    if settings.get("pages_to_scan") == 0:
        return ["pages_to_scan is 0: ksmd wakes up and looks at no page"]
    return ["KSM runs (run is 1)"]


def _text(pid: int, name: str) -> str:
    try:
        return read_text(pid, name)
    except (ProcessGoneError, KsmbenchError):
        return ""


def process_facts(pid: int) -> dict[str, Any]:
    """Return what the kernel tells of a process's merging, under its own names; what it hides is left out."""
    facts: dict[str, Any] = {}
    for line in _text(pid, "ksm_stat").splitlines():
        name, _, value = line.replace(":", " ").partition(" ")
        value = value.strip()
        if name in _COUNTERS and value.lstrip("-").isdecimal():
            facts[name] = int(value)
        elif name in ("ksm_merge_any", "ksm_mergeable") and value in ("yes", "no"):
            facts[name] = value == "yes"
    merging = _text(pid, "ksm_merging_pages").strip()
    if merging.isdecimal():
        facts.setdefault("ksm_merging_pages", int(merging))
    return facts


def n_pinned_kib(pid: int) -> int:
    """Return how much memory of a process is pinned, as far as its own counter tells."""
    for line in _text(pid, "status").splitlines():
        if line.startswith("VmPin:"):
            return int(line.split()[1])
    return 0


def has_assigned_device(pid: int) -> bool:
    """Return whether a process holds a device by VFIO, which pins all of a guest's memory."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            return any(os.readlink(file.path).startswith("/dev/vfio/") for file in files)
    except OSError:
        return False


def program_of(pid: int) -> str:
    """Return the name of the file that a process executes, "" where that is hidden."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
    except OSError:
        return ""


def dax_mounts(pid: int) -> list[str]:
    """Return where file systems are mounted whose files are DAX, as the process sees it."""
    result = []
    for line in _text(pid, "mountinfo").splitlines():
        fields = line.split(" - ")
        words = fields[0].split()
        options = fields[-1].split()[-1].split(",") if len(fields) > 1 else []
        if len(words) > 4 and {"dax", "dax=always"} & set(options):
            result.append(words[4])
    return result


def host_settings() -> dict[str, int | str]:
    """Return KSM's settings here; nothing where the kernel has no KSM."""
    return ksm_settings() if Path("/sys/kernel/mm/ksm").is_dir() else {}
