"""A huge frame that several processes map, in a guest: pages that do not merge where ksmd has to split it first.

    python -m tests.validate.shared_huge 6.18

6.16.12, 6.17.13 and 6.18.15 fail at splitting such a frame once or more, and the page at hand waits for its next visit.
Commit 939080834fef ("mm/huge_memory: fix early failure try_to_migrate() when split huge pmd for shared THP") mends what
60fbb14396d5 ("mm/huge_memory: adjust try_to_migrate_one() and split_huge_pmd_locked()") had brought.
"""

import sys

import numpy as np

from ksmbench.commands.validate import _design
from ksmbench.trace.schema import HUGE_PAGES, Advice, Kind
from ksmbench.validate.agreement import agree
from ksmbench.validate.guests import GuestPlay
from ksmbench.validate.kernels import KernelFiles, kernel_files
from ksmbench.validate.making import BATCH_NS, Row, make_contents, make_trace

_FIRST, _OTHER = 0x400000, 0x401000
_SETTINGS = {"pages_to_scan": 100_000, "smart_scan": 0, "max_page_sharing": 1000}
_WROTE = 100  # the page that somebody writes to after the forks


def late_merges(files: KernelFiles, cases: list[tuple[int, int | None]]) -> list[int]:
    """For each number of forks, and the space that then writes a page or None: merges that the second scan lacks.

    The frame holds seven contents in turn. The engine merges all equal pages in the second scan.
    """
    found = []
    with GuestPlay(files) as play:
        for forks, writer in cases:
            rows: list[Row] = []
            for page, count in ((_FIRST, HUGE_PAGES), (_OTHER, 1)):
                rows += [(0, Kind.MAP, 0, page, count, 0), (0, Kind.MADVISE, 0, page, count, Advice.MERGEABLE)]
            rows += [(0, Kind.WRITE, 0, _FIRST + i, 1, 1 + i % 7) for i in range(HUGE_PAGES)]
            rows += [(0, Kind.WRITE, 0, _OTHER, 1, 1), (0, Kind.HUGE, 0, _FIRST, HUGE_PAGES, 0)]
            rows += [(0, Kind.FORK, 0, 0, 0, 1 + child) for child in range(forks)]
            if writer is not None:
                rows.append((0, Kind.WRITE, writer, _FIRST + _WROTE, 1, 3))
            rows.append((2 * BATCH_NS, Kind.MARK, 0, 0, 0, 0))
            trace = make_trace(rows, make_contents(np.random.default_rng(1), 8))
            result = agree(trace, _SETTINGS, play, design=_design(None, files.upstream))
            both = [played.samples["pages_sharing"].to_list()[1] for played in (result.ours, result.theirs)]
            found.append(both[0] - both[1])
    return found


if __name__ == "__main__":
    kernel = kernel_files(sys.argv[1])
    asked: list[tuple[int, int | None]] = [(0, None), (1, None), (2, None), (3, None), (1, 1), (1, 0)]
    print(kernel.version)
    for (forks, writer), late in zip(asked, late_merges(kernel, asked), strict=True):
        wrote = "" if writer is None else ", then the " + ("child writes a page" if writer else "parent writes a page")
        print(f"{forks} forks{wrote}: {late} merges late")
