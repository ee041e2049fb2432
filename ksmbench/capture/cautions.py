"""What a user should know while there is time to begin anew."""

from collections.abc import Sequence


def about_interval(n_pages: int, interval_s: float, settings: dict[str, int | str]) -> str:
    """Return a sentence where ksmd would pass over so many pages more than once from look to look, else "".

    A pass takes at least the sleeps between its batches; the settings are those of the host.
    """
    pages_to_scan, sleep_millisecs = settings.get("pages_to_scan"), settings.get("sleep_millisecs")
    if not (isinstance(pages_to_scan, int) and isinstance(sleep_millisecs, int) and pages_to_scan and sleep_millisecs):
        return ""
    pass_s = -(-n_pages // pages_to_scan) * sleep_millisecs / 1000
    if interval_s <= pass_s:
        return ""
    return (
        f"with this host's settings ksmd passes over these {n_pages:,} pages in {pass_s:.2g} s, and --interval is "
        f"{interval_s:g} s: what changes between two of its passes is partly missed; take a shorter --interval"
    )


def about_shared(guests: Sequence[str]) -> str:
    """Return a sentence about guests whose memory is shared, else ""."""
    if not guests:
        return ""
    return f"KSM never merges shared memory, so it is recorded without its contents: that of {', '.join(guests)}"


def about_calls(why: str) -> str:
    """Return a sentence about system calls that nobody tells, else ""."""
    if not why:
        return ""
    return f"{why}: no system calls are told, what differs from look to look is recorded; --calls none asks for that"


def about_rights(sees_numbers: bool) -> str:
    """Return a sentence about what the kernel hides from a capture, else ""."""
    if sees_numbers:
        return ""
    return (
        "the numbers of frames are hidden without CAP_SYS_ADMIN: which pages forks share is not recorded, nor what "
        "mremap moved where no system calls are told"
    )
