"""ksmtuned, as qemu-kvm packages of RHEL, Fedora and CentOS ship it with its default ksmtuned.conf.

Once a minute it compares free memory with a threshold, 20 % of the host's memory. Where less is free, ksmd scans 300
pages more than before, up to 1250; otherwise 50 less, down to 64. While what is committed to processes leaves the
threshold free, and as much is free indeed, ksmd is stopped. It sleeps 10 ms on a host of 16 GiB, longer on smaller
hosts, and 10 ms at least.

What is committed is the sum of what processes have resident, which counts a shared page in each of them. The least
threshold, 2048, is meant as MiB and compared with KiB, so on no real host it is in force.
"""

from collections.abc import Callable

from ksmbench.policies.policy import Decide, Policy, Seen, Stores

PERIOD_S = 60.0  # KSM_MONITOR_INTERVAL
SLEEP_MSEC = 10  # KSM_SLEEP_MSEC, on a host of SCALED_TO bytes
BOOST, DECAY = 300, -50  # KSM_NPAGES_BOOST, KSM_NPAGES_DECAY, pages
LEAST, MOST = 64, 1250  # KSM_NPAGES_MIN, KSM_NPAGES_MAX, pages
SHARE_PERCENT, LEAST_FREE = 20, 2048 << 10  # KSM_THRES_COEF; KSM_THRES_CONST as it is compared, bytes
SCALED_TO = 16 << 30
LEAST_SLEEP_MSEC = 10


def threshold(host_memory: int) -> int:
    """Bytes that should be free."""
    return max(host_memory * SHARE_PERCENT // 100, LEAST_FREE)


def scaled_sleep(sleep_msec: int, host_memory: int) -> int:
    """sleep_millisecs on a host of that many bytes, where `sleep_msec` is for 16 GiB."""
    return max(LEAST_SLEEP_MSEC, sleep_msec * SCALED_TO // max(1, host_memory))


def resident(seen: Seen) -> int:
    """Bytes that processes have resident, a shared page in each of them (ps: rsz)."""
    return seen.committed


def tuned(sleep_msec: int, committed: Callable[[Seen], int] = resident) -> Callable[[], Decide]:
    """ksmtuned with that KSM_SLEEP_MSEC, and what it takes for committed to processes, bytes."""

    def start() -> Decide:
        pages = 0  # what it stored last; it knows of no other

        def decide(seen: Seen) -> Stores:
            nonlocal pages
            wanted = threshold(seen.host_memory)
            if committed(seen) + wanted < seen.host_memory and seen.free > wanted:
                return {"run": 0}
            pages = min(max(pages + (BOOST if seen.free < wanted else DECAY), LEAST), MOST)
            return {"pages_to_scan": pages, "sleep_millisecs": scaled_sleep(sleep_msec, seen.host_memory), "run": 1}

        return decide

    return start


TURNS = ("run", "pages_to_scan", "sleep_millisecs")

POLICY = Policy(
    name="ksmtuned",
    summary="ksmtuned: 300 pages more a minute while memory is short, else 50 less, between 64 and 1250",
    source="github.com/ksmtuned/ksmtuned, src/ksmtuned.sh.in; Red Hat's guide to it, the KSM tuning service",
    turns=TURNS,
    period_s=PERIOD_S,
    start=tuned(SLEEP_MSEC),
)
