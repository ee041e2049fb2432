"""What of this host the costs depend on: the processor, its caches, the kernel, and who else takes its time."""

import gzip
import math
import os
import platform
from pathlib import Path
from typing import Any

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# What a page takes of the caches when it is scanned: its 4 KiB, and some lines at every step in a tree.
BYTES_PER_VISIT = 5120


def cache_sizes() -> dict[int, int]:
    """Bytes of the data caches by level, as sysfs tells them; empty where it does not."""
    found: dict[int, int] = {}
    for index in sorted(_CACHES.glob("index*")):
        try:
            kind = (index / "type").read_text().strip()
            level = int((index / "level").read_text())
            text = (index / "size").read_text().strip()
            size = int(text[:-1]) * _UNITS[text[-1]] if text[-1:] in _UNITS else int(text)
        except (OSError, ValueError):
            continue
        if kind != "Instruction":
            found[level] = size
    return found


def warm_levels(caches: dict[int, int]) -> tuple[float, ...]:
    """How many levels of a tree stay in each cache above the first.

    A node at level k is met by one in 2**k searches. In between the pages that are scanned pass through the caches,
    BYTES_PER_VISIT each: it is still there if 2**k times that many bytes fit.
    """
    sizes = [size for level, size in sorted(caches.items()) if level >= 2]
    levels = (round(max(0.0, math.log2(size / BYTES_PER_VISIT)), 1) for size in sizes)
    return tuple(sorted(set(levels)))


def timer_hz() -> int:
    """The kernel's timer frequency; 250 where its configuration cannot be read."""
    config = Path("/proc/config.gz")
    try:
        text = gzip.decompress(config.read_bytes()).decode() if config.exists() else ""
        text = text or Path(f"/boot/config-{platform.release()}").read_text()
    except OSError:
        return 250
    values = [line.split("=")[1] for line in text.splitlines() if line.startswith("CONFIG_HZ=")]
    return int(values[0]) if values and values[0].isdigit() else 250


def processor() -> str:
    """The model's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def ticks() -> tuple[int, int, int]:
    """All ticks of the processors since boot, those that were idle, and those that the hypervisor took."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(numbers), numbers[3] + numbers[4], numbers[7]


def described() -> dict[str, Any]:
    """For the profile."""
    return {
        "processor": processor(),
        "cpus": os.cpu_count(),
        "virtual": " hypervisor " in Path("/proc/cpuinfo").read_text(),
        "caches_kib": {f"L{level}": size >> 10 for level, size in sorted(cache_sizes().items())},
        "kernel": platform.release(),
    }


def disturbance(before: tuple[int, int, int]) -> dict[str, Any]:
    """How much of the processors' time since `before` the hypervisor took, and how much they idled."""
    total, idle, stolen = (now - then for now, then in zip(ticks(), before, strict=True))
    return {
        "steal_percent": round(100 * stolen / max(1, total), 2),
        "idle_percent": round(100 * idle / max(1, total), 1),
        "load_average": round(os.getloadavg()[0], 2),
    }
