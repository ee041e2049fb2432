"""What each policy decides, once more in plain Python after the programs' documents: state in, state out.

`free` and the others are bytes; a host's state is a dict of its KSM settings.
"""

from dataclasses import dataclass, field

KIB, GIB = 1 << 10, 1 << 30


@dataclass
class Host:
    """What the program can see, and what it remembers itself."""

    memory: int
    used: int
    committed: int
    settings: dict[str, int] = field(default_factory=lambda: {"run": 1, "pages_to_scan": 100, "sleep_millisecs": 20})
    npages: int = 0
    frees: list[int] = field(default_factory=list)


def _ksmtuned(host: Host, sleep_msec: int, committed: int) -> dict[str, int]:
    thres = host.memory * 20 // 100
    if thres < 2048 * KIB:
        thres = 2048 * KIB
    free = max(0, host.memory - host.used)
    if committed + thres < host.memory and free > thres:
        return {"run": 0}
    if free < thres:
        host.npages += 300
    else:
        host.npages -= 50
    if host.npages < 64:
        host.npages = 64
    if host.npages > 1250:
        host.npages = 1250
    sleep = sleep_msec * 16 * GIB // host.memory
    if sleep < 10:
        sleep = 10
    return {"pages_to_scan": host.npages, "sleep_millisecs": sleep, "run": 1}


def _mom(host: Host) -> dict[str, int]:
    host.frees = [*host.frees, max(0, host.memory - host.used)][-10:]
    if len(host.frees) == 1:
        return {}
    thres = 0.2 * host.memory
    free = sum(host.frees) / len(host.frees)
    if thres + host.committed < host.memory and free > thres:
        stores = {"run": 0}
    else:
        pages = host.settings["pages_to_scan"] + (300 if free < thres else -50)
        pages = 1250 if pages > 1250 else pages
        pages = 64 if pages < 64 else pages
        sleep = 10 * 16 * GIB // host.memory
        stores = {"run": 1, "pages_to_scan": pages, "sleep_millisecs": 10 if sleep < 10 else sleep}
    for name in list(stores):
        if host.settings[name] == stores[name]:
            del stores[name]
    return stores


def _kubevirt(host: Host) -> dict[str, int]:
    available = max(0, host.memory - host.used)
    sleep = max(10, 100 * 16 * GIB // max(1, host.used))
    pages = host.settings["pages_to_scan"]
    running = host.settings["run"] == 1
    if available > 0.2 * host.memory:
        if not running:
            return {"run": 0}
        pages -= 50
        if pages < 64:
            return {"run": 0}
        return {"sleep_millisecs": sleep, "pages_to_scan": pages, "run": 1}
    pages = min(pages + 300, 1250) if running else 100
    return {"sleep_millisecs": sleep, "pages_to_scan": pages, "run": 1}


def decide(policy: str, host: Host) -> dict[str, int]:
    """What `policy` stores now; `host.settings` are as they were before."""
    if policy == "mom":
        return _mom(host)
    if policy == "kubevirt":
        return _kubevirt(host)
    if policy == "ksmtuned-proxmox":
        return _ksmtuned(host, 100, host.used)
    return _ksmtuned(host, 10, host.committed)
