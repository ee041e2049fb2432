"""What the kernel's selftests of KSM expect: max_page_sharing, zero pages, unmerging, prctl over fork and exec."""

from ksmbench.trace.schema import Advice, Kind
from workloads.closed_forms.telling import ITEM_BYTES, PAGE_BYTES, Case, Form, Story

A, B, C = range(1, 4)


def max_page_sharing(pages: int = 300, maximum: int = 8, spaces: int = 2) -> Case:
    """Equal pages, more than one KSM frame may have.

    The first page of a content waits in the unstable tree, the second makes a KSM frame of both, and others join it
    until `maximum` pages have it. The next is alone again. So of N = q * maximum + r pages q frames are full, and

    * r = 0: shared q, sharing N - q;
    * r = 1: the last page finds only full frames and no partner: shared q, sharing N - 1 - q, unshared 1, for ever;
    * r > 1: shared q + 1, sharing N - q - 1.

    Frames of one content hang off one chain where there are several.
    """
    story = Story(max_page_sharing=maximum)
    for space in range(spaces):
        story.area(space, pages)
        story.write(space, 0, A, pages)
    n = pages * spaces
    full, rest = divmod(n, maximum)
    shared, alone = full + (rest > 1), int(rest == 1)
    counters = {
        "pages_shared": shared,
        "pages_sharing": n - alone - shared,
        "pages_unshared": alone,
        "pages_volatile": 0,
        "stable_node_chains": int(shared > 1),
        "stable_node_dups": shared if shared > 1 else 0,
        "frames": shared + alone,
        "general_profit": (n - alone - shared) * PAGE_BYTES - n * ITEM_BYTES,
    }
    story.passes(2, "merged", **counters)
    story.passes(3, "later", **counters)
    return story.end(f"{n} equal pages, {maximum} per KSM frame")


def zero_pages(zero: int = 40, other: int = 10, written: int = 7) -> Case:
    """Zero-filled pages with use_zero_pages: they need no frame, and a write takes one back at once.

    Pass 2 maps all `zero` pages to the kernel's zero page: ksm_zero_pages zero, frames other. Their items stay for a
    pass (volatile), then only those of the others are left. A write fault on `written` of them allocates as many frames
    and lowers the counter at once; their items are new, so that two passes map them to the zero page again.
    """
    story = Story(use_zero_pages=1)
    story.area(0, zero + other)
    story.write(0, 0, 0, zero)
    for page in range(other):
        story.write(0, zero + page, page + 1)
    merged = {"ksm_zero_pages": zero, "frames": other, "pages_shared": 0, "pages_sharing": 0, "pages_unshared": other}
    story.passes(2, "merged", **merged, pages_volatile=zero)
    clean = zero * PAGE_BYTES - other * ITEM_BYTES
    story.passes(1, "items gone", **merged, pages_volatile=0, general_profit=clean)
    if written:
        story.add(Kind.TOUCH, 0, 0, written)
    story.glance("written", ksm_zero_pages=zero - written, frames=other + written, cow_breaks=0)
    story.passes(3, "merged again", **merged, pages_volatile=0, general_profit=clean)
    return story.end(f"{zero} zero pages beside {other} others")


def zero_pages_as_others(zero: int = 40, other: int = 10, written: int = 7) -> Case:
    """Zero-filled pages without use_zero_pages: a content like any other.

    They share one KSM frame: shared 1, sharing zero - 1 (2 to 256 pages, as many as a frame may have). Writes to
    `written` of them copy it, which ksmd's counters do not show until it comes by; as nothing changed, one pass merges
    them again. The KSM frame is gone in between where all of them were written.
    """
    story = Story(use_zero_pages=0)
    story.area(0, zero + other)
    story.write(0, 0, 0, zero)
    for page in range(other):
        story.write(0, zero + page, page + 1)
    merged = {
        "ksm_zero_pages": 0,
        "pages_shared": 1,
        "pages_sharing": zero - 1,
        "pages_unshared": other,
        "pages_volatile": 0,
    }
    story.passes(2, "merged", **merged, frames=1 + other)
    if written:
        story.add(Kind.TOUCH, 0, 0, written)
    story.glance("written", **merged, frames=other + written + (written < zero), cow_breaks=written)
    story.passes(1, "merged again", **merged, frames=1 + other)
    return story.end(f"{zero} zero pages beside {other} others, use_zero_pages=0")


def zero_pages_fork(zero: int = 40, exits: int = 1) -> Case:
    """A fork copies the mappings of KSM's zero pages, and they count twice; until the child exits, or for good.

    The counter follows page table entries, not ksmd: both changes are there at once.
    """
    story = Story(use_zero_pages=1)
    story.area(0, zero)
    story.write(0, 0, 0, zero)
    story.passes(2, "merged", ksm_zero_pages=zero, frames=0)
    story.add(Kind.FORK, 0, value=1)
    story.glance("forked", ksm_zero_pages=2 * zero, frames=0)
    story.passes(1, "passed", ksm_zero_pages=2 * zero, frames=0, pages_volatile=0)
    if exits:
        story.add(Kind.EXIT, 1)
        story.glance("the child has exited", ksm_zero_pages=zero, frames=0)
    return story.end(f"{zero} zero pages and a fork")


def unmerge_madvise(pages: int = 40, part: int = 15) -> Case:
    """MADV_UNMERGEABLE on a part of equal pages: their frames are there at once, the counters follow in the next pass.

    `part` pages have frames of their own again; the KSM frame stays while others have it, also for one page alone:
    shared 1, sharing pages - part - 1. With all of them gone ksmd drops the address space, and nothing is counted.
    """
    story = Story(max_page_sharing=max(2, pages))
    story.area(0, pages)
    story.write(0, 0, A, pages)
    merged = {"pages_shared": 1, "pages_sharing": pages - 1, "pages_unshared": 0, "pages_volatile": 0}
    story.passes(2, "merged", **merged, frames=1)
    story.add(Kind.MADVISE, 0, 0, part, Advice.UNMERGEABLE)
    left = pages - part
    frames = part + (left > 0)
    story.glance("unmerged", **merged, frames=frames)
    shared, sharing = int(left > 0), max(0, left - 1)
    story.passes(
        1,
        "counted",
        pages_shared=shared,
        pages_sharing=sharing,
        pages_unshared=0,
        pages_volatile=0,
        frames=frames,
        general_profit=sharing * PAGE_BYTES - left * ITEM_BYTES,
    )
    return story.end(f"{part} of {pages} equal pages no longer mergeable")


def unmerge_run(pages: int = 40, spaces: int = 3) -> Case:
    """run=2 unmerges everything and counts from zero; run=1 merges it all again in two passes.

    Before: shared 1, sharing N - 1 of N = pages * spaces equal pages. After run=2 all counters are 0, full_scans
    too, and each page has a frame; afterwards all is as in the beginning, whatever was before.
    """
    n = pages * spaces
    story = Story(max_page_sharing=max(2, n))
    for space in range(spaces):
        story.area(space, pages)
        story.write(space, 0, A, pages)
    merged = {"full_scans": 2, "pages_shared": 1, "pages_sharing": n - 1, "frames": 1, "pages_volatile": 0}
    story.passes(2, "merged", **merged)
    nothing = dict.fromkeys(("full_scans", "pages_shared", "pages_sharing", "pages_unshared", "general_profit"), 0)
    story.unmerged("run=2", **nothing, pages_volatile=0, frames=n)
    story.passes(2, "merged again", **merged)
    return story.end(f"{spaces} times {pages} equal pages and run=2")


def unmerge_prctl(pages: int = 40) -> Case:
    """PR_SET_MEMORY_MERGE 0 in one of two processes unmerges that one's pages only.

    Both asked by prctl and not by madvise: shared 1, sharing 2 * pages - 1. Then one has `pages` frames of its own at
    once, and after the next pass only the other's pages count.
    """
    story = Story(max_page_sharing=max(2, 2 * pages))
    for space in range(2):
        story.add(Kind.PRCTL, space, value=1)
        story.area(space, pages, advise=False)
        story.write(space, 0, A, pages)
    merged = {"pages_shared": 1, "pages_sharing": 2 * pages - 1}
    story.passes(2, "merged", **merged, frames=1)
    story.add(Kind.PRCTL, 1, value=0)
    story.glance("unmerged", **merged, frames=1 + pages)
    story.passes(1, "counted", pages_shared=1, pages_sharing=pages - 1, pages_volatile=0, frames=1 + pages)
    return story.end(f"prctl in two processes of {pages} equal pages, and back in one")


def prctl_fork_exec(pages: int = 20, maximum: int = 20) -> Case:
    """PR_SET_MEMORY_MERGE is inherited by fork and by exec: the child's memory merges though it never asked.

    One process asks by prctl. Its `pages` equal pages merge: shared 1, sharing pages - 1 (pages <= maximum). A fork
    gives the child the same frame, which ksmd counts in its next pass without waiting for a checksum and without regard
    to max_page_sharing: sharing 2 * pages - 1. What the child maps later merges by itself: shared and sharing grow by 1
    and pages - 1 in two passes. After exec its old pages are gone, and what it maps then merges in the same way.
    """
    story = Story(max_page_sharing=maximum)
    story.add(Kind.PRCTL, 0, value=1)
    story.area(0, pages, advise=False)
    story.write(0, 0, A, pages)
    story.passes(2, "merged", pages_shared=1, pages_sharing=pages - 1, frames=1)
    story.add(Kind.FORK, 0, value=1)
    story.glance("forked", pages_shared=1, pages_sharing=pages - 1, frames=1, pages_anon=2 * pages)
    story.passes(1, "the child is counted", pages_shared=1, pages_sharing=2 * pages - 1, frames=1)
    story.area(1, pages, 2 * pages, advise=False)
    story.write(1, 2 * pages, B, pages)
    story.passes(2, "the child mapped more", pages_shared=2, pages_sharing=3 * pages - 2, frames=2)
    story.add(Kind.EXEC, 1)
    story.area(1, pages, advise=False)
    story.write(1, 0, C, pages)
    story.passes(2, "the child has executed", pages_shared=2, pages_sharing=2 * pages - 2, pages_volatile=0, frames=2)
    return story.end(f"prctl of a process of {pages} pages over fork and exec")


def fork_of_frames(pages: int = 20, written: int = 6) -> Case:
    """After a fork both processes have the same frames: nothing to merge until one of them writes.

    A frame is not merged with itself: parent's pages are unshared, the child's volatile. Where the child writes
    what was there, the copy is a frame of its own, and one pass merges the two: shared 1 and sharing 1 for each.
    """
    story = Story()
    story.area(0, pages)
    for page in range(pages):
        story.write(0, page, page + 1)
    story.add(Kind.FORK, 0, value=1)
    story.passes(2, "forked", pages_shared=0, pages_sharing=0, pages_unshared=pages, pages_volatile=pages, frames=pages)
    if written:
        story.add(Kind.TOUCH, 1, 0, written)
    story.glance("written", pages_shared=0, frames=pages + written, cow_breaks=0)
    left = pages - written
    story.passes(
        1,
        "merged",
        pages_shared=written,
        pages_sharing=written,
        pages_unshared=left,
        pages_volatile=left,
        frames=pages,
    )
    return story.end(f"{pages} pages, a fork, {written} written")


_SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 64)
FORMS = (
    Form(
        max_page_sharing,
        tuple(
            {"pages": pages, "maximum": maximum, "spaces": spaces}
            for pages in _SIZES
            for maximum in (2, 3, 8, 16, 256)
            for spaces in (1, 2)
        )
        + tuple({"pages": pages, "maximum": 256, "spaces": 1} for pages in (255, 256, 257, 258, 511, 512, 513, 514)),
    ),
    Form(
        zero_pages,
        tuple(
            {"zero": zero, "other": other, "written": zero * part // 3}
            for zero in (1, 3, 40)
            for other in (0, 1, 10)
            for part in range(4)
        ),
    ),
    Form(
        zero_pages_as_others,
        tuple(
            {"zero": zero, "other": other, "written": zero * part // 3}
            for zero in (2, 3, 256)
            for other in (0, 1, 10)
            for part in range(4)
        ),
    ),
    Form(zero_pages_fork, tuple({"zero": zero, "exits": exits} for zero in (1, 2, 40) for exits in (0, 1))),
    Form(
        unmerge_madvise,
        tuple({"pages": pages, "part": part} for pages in (2, 3, 40) for part in {1, 2, pages - 1, pages}),
    ),
    Form(unmerge_run, tuple({"pages": pages, "spaces": spaces} for pages in (2, 7, 40) for spaces in (1, 2, 5))),
    Form(unmerge_prctl, tuple({"pages": pages} for pages in (2, 3, 40))),
    Form(
        prctl_fork_exec,
        tuple({"pages": pages, "maximum": maximum} for pages in (2, 3, 20) for maximum in (20, 256)),
    ),
    Form(
        fork_of_frames,
        tuple({"pages": pages, "written": pages * part // 3} for pages in (1, 3, 20) for part in range(4)),
    ),
)
