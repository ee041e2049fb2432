"""oVirt's Memory Overcommitment Manager with the KSM policy that vdsm installs.

It has ksmtuned's constants, but looks and acts every 15 s, compares the mean of what was free at its last ten looks,
goes on from the pages_to_scan that is in force, and stores only what changes. The threshold is 20 % of the host's
memory whatever the host.

What is committed is the guests' address space, present or not; of a replay only what is present is known, so a host of
guests that have not touched all of their memory is stopped here where MOM would still scan. MOM also sets
merge_across_nodes as the engine wishes, which is left alone here.
"""

from collections import deque

from ksmbench.policies.ksmtuned import (
    BOOST,
    DECAY,
    LEAST,
    LEAST_SLEEP_MSEC,
    MOST,
    SCALED_TO,
    SHARE_PERCENT,
    SLEEP_MSEC,
    TURNS,
)
from ksmbench.policies.policy import Decide, Policy, Seen, Stores

PERIOD_S = 15.0  # host-monitor-interval and policy-engine-interval of vdsm's mom.conf
LOOKS = 10  # sample-history-length


def _wanted(seen: Seen, free: float) -> Stores:
    wanted = seen.host_memory * SHARE_PERCENT / 100
    if seen.committed + wanted < seen.host_memory and free > wanted:
        return {"run": 0}
    change = BOOST if free < wanted else DECAY
    return {
        "run": 1,
        "pages_to_scan": min(max(seen.settings["pages_to_scan"] + change, LEAST), MOST),
        "sleep_millisecs": max(LEAST_SLEEP_MSEC, SLEEP_MSEC * SCALED_TO // max(1, seen.host_memory)),
    }


def _start() -> Decide:
    looks: deque[int] = deque(maxlen=LOOKS)

    def decide(seen: Seen) -> Stores:
        looks.append(seen.free)
        if len(looks) == 1:  # the monitor looks at once, the engine sleeps first
            return {}
        wanted = _wanted(seen, sum(looks) / len(looks))
        return {name: value for name, value in wanted.items() if value != seen.settings[name]}

    return decide


POLICY = Policy(
    name="mom",
    summary="oVirt's MOM: ksmtuned's constants every 15 s, by the mean of the last ten looks at free memory",
    source="github.com/oVirt/vdsm, static/etc/vdsm/mom.conf.in and mom.d/03-ksm.policy; github.com/oVirt/mom",
    turns=TURNS,
    period_s=PERIOD_S,
    acts_at_start=True,
    start=_start,
)
