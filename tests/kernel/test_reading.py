"""A capture leaves what KSM merged merged, and does not take it for what a fork shares."""

import time
from pathlib import Path

import numpy as np

from ksmbench.trace.schema import Kind
from ksmbench.validate.sysfs import KsmSession, read, store
from tests.capture.child import REGION, Child, Recording
from tests.capture.truth import groups, truth
from tests.kernel.needs import needs_kernel

pytestmark = needs_kernel


def test_merged_pages_stay_merged_and_are_no_event(tmp_path: Path) -> None:
    with KsmSession(), Child() as one, Child() as two:
        children = [one, two]
        for child in children:
            child.do("region.madvise(mmap.MADV_MERGEABLE); [put(i, b'%d' % (i % 4)) for i in range(64)]")
        recording = Recording(children, tmp_path / "t")
        recording.looks()
        store("sleep_millisecs", 1)
        store("pages_to_scan", 1000)
        store("run", 1)
        deadline = time.monotonic() + 30
        while int(read("pages_sharing")) < 2 * REGION - 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        recording.looks(4)
        store("run", 0)
        merged = [truth([child.pid], child.first, REGION)[0] for child in children]
        recording.looks(4)
        memory = recording.finish()
        after = [truth([child.pid], child.first, REGION)[0] for child in children]
        assert merged == after
        assert all(len(groups(frames)) == 4 for frames in after)
        assert set(after[0].values()) == set(after[1].values())
    events = memory.trace.events
    assert not np.isin(events.kind, (Kind.SHARE, Kind.TOUCH, Kind.MOVE)).any()
    assert [kind for kind, _ in memory.kinds(one.first)].count(Kind.WRITE) == 1
