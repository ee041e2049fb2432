"""Which page has which frame, and which merges were seen: equal up to the frames' numbers, and told where not."""

import numpy as np

from ksmbench import designs
from ksmbench.validate.agreement import agree
from ksmbench.validate.generate import generate
from ksmbench.validate.placing import differing_merge, differing_place, differing_zero_merge
from tests.validate.fake import engine_as_kernel

# space, page, frame, is KSM's
KERNEL = np.array([(0, 0x10, 900, 1), (0, 0x11, 77, 0), (1, 0x10, 900, 1), (1, 0x12, 900, 1)])
# the same by the engine, with numbers of its own, and: on its frame's list, joined it just now
ENGINE = np.array([(0, 0, 5, 1, 1, 1), (0, 1, 9, 0, 0, 0), (1, 2, 5, 1, 1, 1), (1, 3, 5, 1, 1, 1)])
LINES = "\n".join(
    f" ksmd-36 [001] ..... 17.5: ksm_merge_with_ksm_page: {ksm}pfn 900 rmap_item 0a mm 0b error {error}"
    for ksm, error in (("", 0), ("ksm ", 0), ("ksm ", -14), ("ksm ", 0))
)


def test_frames_are_compared_by_who_has_them_together() -> None:
    assert differing_place(ENGINE, KERNEL) is None
    other = ENGINE.copy()
    other[3, 2] = 6
    assert differing_place(other, KERNEL) == (
        "page 0x12 of space 1 has KSM's frame alone, the kernel's has KSM's frame with 0:0x10, 1:0x10"
    )
    other = ENGINE.copy()
    other[1, 3] = 1
    assert differing_place(other, KERNEL) == (
        "page 0x11 of space 0 has KSM's frame alone, the kernel's has an ordinary frame alone"
    )
    assert differing_place(ENGINE[:3], KERNEL) == "3 pages are present, the kernel's 4"


def test_merges_are_those_that_were_seen() -> None:
    settled = ENGINE.copy()
    settled[:, 5] = 0
    assert differing_merge(LINES, ENGINE, KERNEL) is None
    assert differing_merge(LINES, settled, KERNEL) is None  # left and joined again
    assert differing_merge("", settled, KERNEL) is None
    assert differing_merge("", ENGINE, KERNEL) == "0 merges with frame 0x384 were seen, 3 to 3 expected"
    upgraded, _, refused, _ = LINES.replace("pfn 900", "pfn 5").splitlines()
    assert differing_merge(f"{upgraded}\n{refused}", settled, KERNEL) is None  # a pair whose second page failed
    assert differing_merge(upgraded, settled, KERNEL) == "1 merges with frame 0x5 were seen, 0 to 0 expected"
    elsewhere = LINES.replace("pfn 900", "pfn 901")
    assert differing_merge(elsewhere, settled, KERNEL) == "3 merges with frame 0x385 were seen, 0 to 0 expected"


def test_merges_with_the_zero_page_are_those_that_were_seen() -> None:
    lines = "\n".join(
        f" ksmd-36 [000] ..... 17.5: ksm_merge_one_page: pfn {100 + error} rmap_item 0a mm 0b error {error}"
        for error in (0, 0, -14)
    )
    assert differing_zero_merge(f"{LINES}\n{lines}", 2) is None
    assert differing_zero_merge(lines, 1) == "2 merges with the zero page were seen, 1 expected"
    assert differing_zero_merge("", 1) == "0 merges with the zero page were seen, 1 expected"


def test_the_engine_is_looked_at_after_every_batch() -> None:
    known = [setting.name for setting in designs.find(designs.DEFAULT).settings]
    scenario = generate(4, known)
    result = agree(scenario.trace, scenario.settings, engine_as_kernel(), design=designs.DEFAULT)
    assert result.first is None
    assert result.tallies["page has frame"].batches == len(result.ours.samples)
    rows = result.ours.samples.select("time_ns", "pages_anon", "frames", "frames_ksm").rows()
    for time, pages, frames, ksm in rows:
        places = result.ours.places[time]
        assert len(places) == pages
        assert len(np.unique(places[:, 2])) == frames
        assert len(np.unique(places[places[:, 3] == 1, 2])) == ksm
