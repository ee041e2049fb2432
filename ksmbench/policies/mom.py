"""oVirt's Memory Overcommitment Manager with the KSM part of its balloon policy.

It has ksmtuned's constants, but acts every 10 s, takes 20 % of the host's memory as its threshold whatever the host,
goes on from the pages_to_scan that is in force, and has no least sleep.
"""

from ksmbench.policies.ksmtuned import BOOST, DECAY, LEAST, MOST, SCALED_TO, SHARE_PERCENT, SLEEP_MSEC, TURNS
from ksmbench.policies.policy import Decide, Policy, Seen, Stores

PERIOD_S = 10.0  # policy-engine-interval


def _decide(seen: Seen) -> Stores:
    wanted = seen.host_memory * SHARE_PERCENT / 100
    if seen.committed + wanted < seen.host_memory and seen.free > wanted:
        return {"run": 0}
    change = BOOST if seen.free < wanted else DECAY
    return {
        "run": 1,
        "sleep_millisecs": SLEEP_MSEC * SCALED_TO // max(1, seen.host_memory),
        "pages_to_scan": min(max(seen.settings["pages_to_scan"] + change, LEAST), MOST),
    }


def _start() -> Decide:
    return _decide


POLICY = Policy(
    name="mom",
    summary="oVirt's MOM: ksmtuned's constants every 10 s, from the pages_to_scan in force",
    source="oVirt, mom-balloon.policy and mom.conf",
    turns=TURNS,
    period_s=PERIOD_S,
    start=_start,
)
