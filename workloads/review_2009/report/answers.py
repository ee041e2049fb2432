"""The questions of the review, in the order of the mail, and what the replays say to them."""

from collections.abc import Callable

from workloads.review_2009.report import counting, lists, losing, stopping
from workloads.review_2009.report.runs import Runs
from workloads.review_2009.report.telling import Answer

QUESTIONS: tuple[Callable[[Runs], Answer], ...] = (
    lists.lists,
    lists.delay,
    losing.fork,
    losing.mremap,
    counting.munmap,
    counting.beyond,
    counting.quota,
    stopping.stop,
    stopping.unmodified,
    stopping.wrprotect,
)


def answer(runs: Runs, names: tuple[str, ...] = ()) -> list[Answer]:
    """Answer the questions called `names`, or all."""
    return [question(runs) for question in QUESTIONS if not names or question.__name__ in names]
