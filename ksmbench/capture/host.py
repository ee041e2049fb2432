"""Facts about this machine for a trace's manifest."""

import os
import platform
from pathlib import Path
from typing import Any

from ksmbench.trace.schema import SETTINGS

_KSM = Path("/sys/kernel/mm/ksm")
_CGROUPS = Path("/sys/fs/cgroup")
# The numbers that a `tune` of advisor_mode has.
ADVISOR_MODES = {"none": 0, "scan-time": 1}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _chosen(text: str) -> str:
    # "always [madvise] never" names the setting in force in brackets.
    return text.partition("[")[2].partition("]")[0] or text


def ksm_settings() -> dict[str, int | str]:
    """Return KSM's settings under their names in sysfs, as far as this kernel has them."""
    found = {name: _chosen(_text(_KSM / name)) for name in SETTINGS}
    return {name: int(value) if value.isdecimal() else value for name, value in found.items() if value}


def _line(path: str, key: str) -> str:
    for line in _text(Path(path)).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _group_limits() -> list[int]:
    # The memory limits of the control groups that this process is in, of either version.
    limits = []
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        for group in (root / place.lstrip("/"), *(root / place.lstrip("/")).parents):
            limit = _text(group / ("memory.limit_in_bytes" if controllers else "memory.max"))
            if limit.isdecimal():
                limits.append(int(limit))
            if group == root:
                break
    return limits


def available_bytes() -> int:
    """Return how much memory this process can use without swapping, or being killed for it."""
    free = int((_line("/proc/meminfo", "MemAvailable") or "0 kB").split()[0]) * 1024
    return min([free, *_group_limits()])


def host() -> dict[str, Any]:
    """Return the manifest's `host`."""
    nodes = [path for path in Path("/sys/devices/system/node").glob("node[0-9]*")]
    return {
        "kernel": platform.release(),
        "cpu": _line("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "memory_bytes": int((_line("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) * 1024,
        "numa_nodes": max(1, len(nodes)),
        "transparent_hugepage": _chosen(_text(Path("/sys/kernel/mm/transparent_hugepage/enabled"))),
        "ksm": ksm_settings(),
    }
