"""Settings as files that are ready to be installed."""

from collections.abc import Mapping
from textwrap import dedent

from ksmbench.policies.ksmtuned import SCALED_TO

_FOLDER = "/sys/kernel/mm/ksm"
_MODES = {0: "none", 1: "scan-time"}
_NEEDS_NO_SHARING = ("max_page_sharing", "merge_across_nodes")  # refused while pages are shared

Settings = Mapping[str, int | str]


def _stores(settings: Settings) -> list[tuple[str, str]]:
    # In an order that the kernel takes: pages_to_scan is the advisor's while it is on, `run` comes last.
    advised = settings.get("advisor_mode") == 1
    stores = []
    for name, value in settings.items():
        if name == "run" or (advised and name == "pages_to_scan") or name == "advisor_mode":
            continue
        if name.startswith("advisor_") and not advised:
            continue
        stores.append((name, str(value)))
    if "advisor_mode" in settings:
        at = len(stores) if advised else 0  # on after its limits; off before pages_to_scan is stored
        stores.insert(at, ("advisor_mode", _MODES[int(settings["advisor_mode"])]))
    return [*stores, ("run", "1")]


def tmpfiles(settings: Settings, about: str) -> str:
    """A file for /etc/tmpfiles.d, by which systemd stores the settings at every boot."""
    lines = [f"w {_FOLDER}/{name} - - - - {value}" for name, value in _stores(settings)]
    head = f"# {about}\n# Install: cp ksm.conf /etc/tmpfiles.d/ && systemd-tmpfiles --create /etc/tmpfiles.d/ksm.conf\n"
    return head + "\n".join(lines) + "\n"


def shell(settings: Settings, about: str) -> str:
    """A shell script that stores them now."""
    lines = []
    for name, value in _stores(settings):
        if name in _NEEDS_NO_SHARING:
            lines.append(
                f'[ "$(cat {name})" = {value} ] || {{ echo 2 > run; echo {value} > {name}; }}  # unmerges first'
            )
        else:
            lines.append(f"echo {value} > {name}")
    body = "\n".join(lines)
    return f"#!/bin/sh\n# {about}\n# Run as root; lasts until the next boot.\nset -eu\ncd {_FOLDER}\n{body}\n"


def ksmtuned(settings: Settings, about: str, host_memory: int) -> str | None:
    """ksmtuned.conf with which ksmtuned holds this pace on a host of `host_memory` bytes; None where it cannot.

    It knows nothing of the other settings, and the advisor takes pages_to_scan from it.
    """
    if settings.get("advisor_mode") == 1 or host_memory <= 0:
        return None
    pages, sleep = int(settings["pages_to_scan"]), int(settings["sleep_millisecs"])
    scaled = max(1, -(-sleep * host_memory // SCALED_TO))
    text = f"""\
        # {about}
        # Install as /etc/ksmtuned.conf, then: systemctl restart ksmtuned
        # It holds this pace as it was replayed. With KSM_THRES_COEF=20 it would run only when memory is short; the
        # other settings of the kernel are in ksm.conf.
        KSM_NPAGES_MIN={pages}
        KSM_NPAGES_MAX={pages}
        # a sleep of {sleep} ms on this host of {host_memory / 2**30:.1f} GiB
        KSM_SLEEP_MSEC={scaled}
        KSM_THRES_COEF=100
        """
    return dedent(text)


def files(settings: Settings, about: str, host_memory: int) -> dict[str, str]:
    """The texts by file name."""
    made = {"ksm.conf": tmpfiles(settings, about), "ksm.sh": shell(settings, about)}
    by_ksmtuned = ksmtuned(settings, about, host_memory)
    return made if by_ksmtuned is None else made | {"ksmtuned.conf": by_ksmtuned}
