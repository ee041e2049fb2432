"""What LTP's tests of KSM expect: ksm01 (counters through four phases), ksm06 (NUMA nodes), ksm07 (smart scan)."""

from ksmbench.trace.schema import Advice, Kind
from workloads.closed_forms.telling import Case, Form, Story

A, B, C, D, E = range(1, 6)
# The content that each of ksm01's three processes fills its memory with, phase by phase.
_PHASES = ((C, A, A), (C, B, A), (D, D, D), (D, D, D))


def ksm01(pages: int = 64) -> Case:
    """Three processes fill their memory with few contents, anew in each of four phases; then run=2 undoes all.

    With d distinct contents among N = 3 * pages pages, and max_page_sharing = N so that no frame is ever full, each
    content ends as one KSM frame: shared d, sharing N - d, as every page is either a frame's first or a further one.
    In the last phase one page holds something of its own: it stays unshared, the others are N - 1 pages of one content.

    Two passes settle a phase: a page with another content than at its last visit has its checksum stored at the first,
    and merges at the second; one that was rewritten with what it held is merged again at the first already.
    """
    n = 3 * pages
    story = Story(max_page_sharing=n)
    for space in range(3):
        story.area(space, pages)
    for phase, filled in enumerate(_PHASES):
        for space, content in enumerate(filled):
            story.write(space, 0, content, pages)
        lone = int(phase == 3)
        if lone:
            story.write(2, pages - 1, E)
        shared = len(set(filled))
        story.passes(
            2,
            f"phase {phase + 1}",
            pages_shared=shared,
            pages_sharing=n - shared - lone,
            pages_unshared=lone,
            pages_volatile=0,
            frames=shared + lone,
            frames_ksm=shared,
        )
    nothing = dict.fromkeys(("full_scans", "pages_shared", "pages_sharing", "pages_unshared", "pages_volatile"), 0)
    story.unmerged("run=2", **nothing, frames=n, frames_ksm=0)
    return story.end(f"LTP ksm01 with {pages} pages per process")


def ksm06(pages: int = 32, nodes: int = 2) -> Case:
    """Equal pages on several NUMA nodes, with merge_across_nodes 1 and then 0.

    All N = pages * nodes pages have one content, pages of them on each node. With merge_across_nodes=1 there is one
    stable tree: shared 1, sharing N - 1. With 0 there is one per node, and pages merge within theirs: shared nodes,
    sharing N - nodes. The setting can only be changed while nothing is shared, hence run=2 between the two. What run=2
    unmerges has frames wherever they were allocated, so the pages are dropped and written again on their nodes.
    """
    n = pages * nodes
    story = Story(max_page_sharing=n, merge_across_nodes=1)
    story.area(0, n)
    for across, trees in ((1, 1), (0, nodes)):
        if not across:
            story.unmerged("run=2", pages_shared=0, pages_sharing=0, frames=n)
            story.tune("merge_across_nodes", 0)
            story.add(Kind.MADVISE, 0, 0, n, Advice.DONTNEED)
        for node in range(nodes):
            story.write(0, node * pages, A, pages, node)
        told = f"merge_across_nodes={across}"
        story.passes(2, told, pages_shared=trees, pages_sharing=n - trees, pages_unshared=0, frames=trees)
    return story.end(f"LTP ksm06 with {pages} pages on each of {nodes} nodes")


def processed(passes: int) -> int:
    """At how many of its first `passes` visits smart scan processes a page that never merges.

    Of the first four at all; after the fourth it skips 1, after the sixth 2, after the ninth 4, and from the 14th on it
    skips 8 of 9: visits 1, 2, 3, 4, 6, 9, 14, 23, 32, ...
    """
    return passes if passes < 5 else 4 + (passes >= 6) + (passes >= 9) + max(0, (passes - 5) // 9)


def ksm07(pages: int = 48, passes: int = 60) -> Case:
    """Pages that all differ, with smart scan: after enough passes over half of the visits are skips.

    All pages have the same age, so smart scan processes all of them in a pass or skips all. After k passes with P(k)
    of them processed: scanned pages * P(k), skipped pages * (k - P(k)). The share of skips is over a half from k = 15
    on and tends to 8/9. Pages are in the unstable tree after a processed pass (but the first, which only stores
    checksums), and volatile after a skipped one.
    """
    story = Story(smart_scan=1)
    story.area(0, pages)
    for page in range(pages):
        story.write(0, page, page + 1)
    for k in range(1, passes + 1):
        unshared = pages if k > 1 and processed(k) > processed(k - 1) else 0
        story.passes(
            1,
            f"pass {k}",
            full_scans=k,
            pages_scanned=pages * processed(k),
            pages_skipped=pages * (k - processed(k)),
            pages_shared=0,
            pages_unshared=unshared,
            pages_volatile=pages - unshared,
        )
    return story.end(f"LTP ksm07 with {pages} pages in {passes} passes")


FORMS = (
    Form(ksm01, tuple({"pages": pages} for pages in (2, 3, 17, 64, 300))),
    Form(ksm06, tuple({"pages": pages, "nodes": nodes} for pages in (2, 5, 64) for nodes in (1, 2, 3, 4))),
    Form(ksm07, tuple({"pages": pages, "passes": 60} for pages in (1, 2, 48, 500))),
)
