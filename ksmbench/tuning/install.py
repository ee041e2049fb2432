"""Settings as files that are ready to be installed."""

from collections.abc import Mapping
from textwrap import dedent

from ksmbench.policies.ksmtuned import LEAST_SLEEP_MSEC, SCALED_TO

FOLDER = "/sys/kernel/mm/ksm"
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
    lines = [f"w {FOLDER}/{name} - - - - {value}" for name, value in _stores(settings)]
    head = dedent(f"""\
        # {about}
        # Install: cp ksm.conf /etc/tmpfiles.d/
        # Stores at every boot, before anything is merged. To store now too, run ksm.sh: it unmerges where it has to.
        """)
    return head + "\n".join(lines) + "\n"


# The settings that are refused while pages are shared. Unmerging takes the memory that merging saved, so it is done
# only where the setting differs, and not where that memory is not there.
_STORE_UNMERGED = """\
store_unmerged() {
    if [ "$(cat "$1")" = "$2" ]; then return; fi
    was=$(cat run)
    shared=$(cat pages_sharing)
    if [ -e ksm_zero_pages ]; then shared=$((shared + $(cat ksm_zero_pages))); fi
    needed=$((shared * $(getconf PAGESIZE) / 1024))
    free=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
    if [ "$needed" -ge "$free" ]; then
        echo "ksm.sh: $1 needs all pages unmerged: $needed KiB more memory, of which $free are available" >&2
        exit 1
    fi
    echo 2 > run
    if ! echo "$2" > "$1"; then
        echo "$was" > run
        echo "ksm.sh: the kernel refuses $1=$2, though nothing is merged now; run is $was again" >&2
        exit 1
    fi
}
"""


def shell(settings: Settings, about: str) -> str:
    """A shell script that stores them now: all that could stop it is looked at before the first store."""
    stores = _stores(settings)
    unmerged = [f"store_unmerged {name} {value}" for name, value in stores if name in _NEEDS_NO_SHARING]
    plain = [f"echo {value} > {name}" for name, value in stores if name not in _NEEDS_NO_SHARING]
    head = dedent(f"""\
        #!/bin/sh
        # {about}
        # Run as root; lasts until the next boot.
        set -eu
        cd {FOLDER}
        for name in {" ".join(name for name, _ in stores)}; do
            if [ ! -w "$name" ]; then
                echo "ksm.sh: {FOLDER}/$name cannot be written; run this as root, where the kernel has it" >&2
                exit 1
            fi
        done
        """)
    return head + (_STORE_UNMERGED if unmerged else "") + "\n".join([*unmerged, *plain]) + "\n"


def ksmtuned(settings: Settings, about: str, host_memory: int) -> str | None:
    """ksmtuned.conf with which ksmtuned holds this pace on a host of `host_memory` bytes; None where it cannot.

    It knows nothing of the other settings, the advisor takes pages_to_scan from it, and it sleeps 10 ms at least. As it
    scales whole milliseconds to the host's memory, a host of less than 16 GiB may get a somewhat longer sleep.
    """
    pages, sleep = int(settings["pages_to_scan"]), int(settings["sleep_millisecs"])
    if settings.get("advisor_mode") == 1 or host_memory <= 0 or sleep < LEAST_SLEEP_MSEC:
        return None
    scaled = -(-sleep * host_memory // SCALED_TO)
    held = max(LEAST_SLEEP_MSEC, scaled * SCALED_TO // host_memory)
    instead = "" if held == sleep else f" instead of {sleep} ms, the next that it has"
    text = f"""\
        # {about}
        # Install as /etc/ksmtuned.conf, then: systemctl restart ksmtuned
        # It holds this pace as it was replayed. With KSM_THRES_COEF=20 it would run only when memory is short; the
        # other settings of the kernel are in ksm.conf.
        KSM_NPAGES_MIN={pages}
        KSM_NPAGES_MAX={pages}
        # a sleep of {held} ms on this host of {host_memory / 2**30:.1f} GiB{instead}
        KSM_SLEEP_MSEC={scaled}
        KSM_THRES_COEF=100
        """
    return dedent(text)


def files(settings: Settings, about: str, host_memory: int) -> dict[str, str]:
    """The texts by file name; `about` becomes a comment of one line."""
    told = " ".join(about.split())
    made = {"ksm.conf": tmpfiles(settings, told), "ksm.sh": shell(settings, told)}
    by_ksmtuned = ksmtuned(settings, told, host_memory)
    return made if by_ksmtuned is None else made | {"ksmtuned.conf": by_ksmtuned}
