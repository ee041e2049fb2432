"""A policy as the engine takes it: a trace that leaves its settings to it, a host, and who is asked when."""

from dataclasses import replace

from ksmbench.engine.turning import Decide, Reading, Turner
from ksmbench.errors import UsageError
from ksmbench.policies import Policy, Seen
from ksmbench.trace.columns import Trace
from ksmbench.trace.tunes import without_tunes


def host_memory_of(policy: Policy, given: int | None, trace: Trace) -> int:
    """Bytes that the policy's host has: as given, or as the trace says of the host that it was recorded on.

    0 where neither tells; raises `UsageError` for a policy that has to know.
    """
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given <= 0):
        raise UsageError(f"host_memory={given}: must be a number of bytes above 0")
    found = given or trace.host_memory
    if not found and policy.sees_memory:
        raise UsageError(
            f'policy "{policy.name}" decides by the memory of the host, which {trace.path or "the trace"} does not '
            "tell; say it with --host-memory, as in 64G"
        )
    return found


def make_turner(policy: Policy, host_memory: int, trace: Trace, start_ns: int) -> Turner | None:
    """Who asks the policy, on a host of so many bytes; None for one that never acts."""
    if not policy.period_s:
        return None

    def start() -> Decide:
        decide = policy.start()

        def decided(reading: Reading) -> dict[str, int]:
            return decide(
                Seen(
                    seconds=(reading.now_ns - start_ns) / 1e9,
                    host_memory=host_memory,
                    used=reading.frames * trace.page_size,
                    committed=reading.pages_anon * trace.page_size,
                    settings=reading.settings,
                )
            )

        return decided

    period_ns = round(policy.period_s * 1e9)
    first = start_ns if policy.acts_at_start else start_ns + period_ns
    return Turner(start=start, first_ns=first, period_ns=period_ns, names=trace.names)


def turned_trace(trace: Trace, policy: Policy) -> Trace:
    """`trace` without what somebody else stored to the policy's settings, and with a name for each of them."""
    more = tuple(name for name in policy.turns if name not in trace.names)
    kept = without_tunes(trace, policy.turns)
    return replace(kept, names=trace.names + more) if more else kept
