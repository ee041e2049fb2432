"""When a replay ends and looks, as it was asked for; refused where it would take too long or too much memory."""

from typing import Any

from ksmbench.engine.clock import END_OF_TIME, NEVER
from ksmbench.engine.cost import CostProfile
from ksmbench.engine.drive import MAX_SAMPLES, Timing
from ksmbench.engine.plan import Plan
from ksmbench.errors import UsageError

Sample = str | float | int
_BYTES_PER_SAMPLE = 1300  # at the peak, with those of the bounds
_MAX_BATCHES = 10**10  # of ksmd: seven years by default, half an hour of replaying at least


def _until_ns(until: float | None, plan: Plan) -> int:
    far = f"after {END_OF_TIME // 10**9:,} s of trace time, as far as a replay counts"
    if plan.start_ns > END_OF_TIME:
        raise UsageError(f"the trace begins {far}; let its times begin at 0")
    if until is None and plan.end_ns > END_OF_TIME:
        raise UsageError(f"the trace ends {far}; end earlier with --until")
    if until is None:
        return NEVER if plan.is_snapshot else plan.end_ns
    if isinstance(until, bool) or not isinstance(until, int | float) or not 0 <= until <= END_OF_TIME / 1e9:
        raise UsageError(f"until={until}: must be a number of seconds of trace time, 0 or more")
    ns = round(until * 1e9)
    if ns < plan.start_ns:
        raise UsageError(f"until={until}: the trace begins at {plan.start_ns / 1e9} s")
    return ns


def _check_samples(n: int, what: str, plan: Plan, max_memory: int) -> None:
    if n > MAX_SAMPLES:
        raise UsageError(f"{n:,} {what}, more than {MAX_SAMPLES:,}; sample less often, or end earlier with --until")
    needed = plan.needed_bytes + n * _BYTES_PER_SAMPLE
    if needed > max_memory:
        raise UsageError(
            f"{n:,} {what} need {needed / 2**30:.1f} GiB, more than --max-memory {max_memory / 2**30:.1f} GiB; "
            "sample less often or raise it"
        )


def _check_batches(settings: dict[str, int], profile: CostProfile | None, span_ns: int) -> int:
    # How many batches ksmd can run in that time at most; refuses what would not end.
    if "sleep_millisecs" not in settings:
        return 0
    sleep_ns = settings.get("sleep", 0) * 1000 or settings["sleep_millisecs"] * 1_000_000
    pace = sleep_ns + (profile.batch_ns if profile else 0)
    batches = int(span_ns / pace) if pace else 0
    if batches > _MAX_BATCHES:
        raise UsageError(f"{batches:,} batches of ksmd, more than {_MAX_BATCHES:,}; end earlier with --until")
    return batches


def make_timing(
    plan: Plan,
    settings: dict[str, int],
    sample: Sample,
    profile: CostProfile | None,
    until: float | None,
    max_memory: int,
    **more: Any,
) -> Timing:
    """The `Timing` of a replay of `plan`; raises `UsageError` where it would not end or not fit into `max_memory`."""
    until_ns = _until_ns(until, plan)
    span = 0 if until_ns == NEVER else until_ns - plan.start_ns
    batches = _check_batches(settings, profile, span)
    period = 0
    if sample == "batch":
        _check_samples(batches, "batches to sample", plan, max_memory)
    elif sample != "end":
        if isinstance(sample, str | bool) or not 1e-9 <= sample <= END_OF_TIME / 1e9:
            raise UsageError(f'sample={sample}: must be "batch", "end" or a number of seconds above 0')
        period = round(sample * 1e9)
        _check_samples(span // period, "samples", plan, max_memory)
    return Timing(
        start_ns=plan.start_ns,
        until_ns=until_ns,
        period_ns=period,
        every_batch=sample == "batch",
        profile=profile,
        **more,
    )
