"""ksmtuned as Proxmox VE ships it: as in RHEL, but ksmd sleeps ten times as long."""

from ksmbench.policies.ksmtuned import PERIOD_S, TURNS, tuned
from ksmbench.policies.policy import Policy

SLEEP_MSEC = 100

POLICY = Policy(
    name="ksmtuned-proxmox",
    summary="ksmtuned as Proxmox VE ships it: the same with a sleep of 100 ms on a host of 16 GiB",
    source="Proxmox VE, package ksm-control-daemon",
    turns=TURNS,
    period_s=PERIOD_S,
    start=tuned(SLEEP_MSEC),
)
