"""ksmtuned as Proxmox VE ships it: as in RHEL, but ksmd sleeps ten times as long, and sharing counts.

What is committed to processes is the sum of their proportional sizes, in which a page that n of them share is one
n-th of each (ps: pss, since ksm-control-daemon 1.5 of 2024; before, what they had resident). So what ksmd saves is not
committed any more: ksmd stops once the threshold is free, where RHEL's goes on while the guests together are too large.
"""

from ksmbench.policies.ksmtuned import PERIOD_S, TURNS, tuned
from ksmbench.policies.policy import Policy, Seen

SLEEP_MSEC = 100


def _proportional(seen: Seen) -> int:
    return seen.used  # every frame once, whoever maps it


POLICY = Policy(
    name="ksmtuned-proxmox",
    summary="ksmtuned as Proxmox VE ships it: a sleep of 100 ms on a host of 16 GiB, and it stops once enough is saved",
    source="github.com/proxmox/ksm-control-daemon, debian/patches",
    turns=TURNS,
    period_s=PERIOD_S,
    start=tuned(SLEEP_MSEC, _proportional),
)
