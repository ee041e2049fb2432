"""KubeVirt's handling of KSM on a node.

It looks when it starts and every three minutes. Under pressure, with at most 20 % of the node's memory available, it
starts ksmd at 100 pages or adds 300, up to 1250. Without pressure it takes 50 off and stops ksmd below 64. The sleep is
100 ms where 16 GiB are in use, shorter with more, and 10 ms at least.
"""

from ksmbench.policies.ksmtuned import BOOST, DECAY, LEAST, MOST, SCALED_TO, SHARE_PERCENT, TURNS
from ksmbench.policies.policy import Decide, Policy, Seen, Stores

PERIOD_S = 180.0
FIRST_PAGES = 100
SLEEP_MSEC = 100  # where SCALED_TO bytes are in use


def _decide(seen: Seen) -> Stores:
    running = seen.settings["run"] == 1
    pressed = seen.free <= seen.host_memory * SHARE_PERCENT / 100
    if not running and not pressed:
        return {"run": 0}
    sleep = max(SLEEP_MSEC // 10, SLEEP_MSEC * SCALED_TO // max(1, seen.used))
    pages = seen.settings["pages_to_scan"]
    if not running:
        pages = FIRST_PAGES
    elif pressed:
        pages = min(pages + BOOST, MOST)
    elif pages + DECAY < LEAST:
        return {"run": 0}
    else:
        pages += DECAY
    return {"sleep_millisecs": sleep, "pages_to_scan": pages, "run": 1}


def _start() -> Decide:
    return _decide


POLICY = Policy(
    name="kubevirt",
    summary="KubeVirt's node handler: every 3 minutes 300 pages more under pressure, else 50 less until it stops",
    source="github.com/kubevirt/kubevirt, pkg/virt-handler/ksm/ksm.go",
    turns=TURNS,
    period_s=PERIOD_S,
    acts_at_start=True,
    start=_start,
)
