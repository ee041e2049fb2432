"""Events as they are collected: in order, and few bytes each while nobody asks for a trace."""

import sys

import numpy as np

from ksmbench.capture import recorder
from ksmbench.capture.recorder import Recorder
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import Kind


def test_many_single_events_take_little_memory_and_stay_in_order() -> None:
    n = 3 * recorder._MOST_RECENT + 5
    events = Recorder()
    for number in range(n):
        events.add(number, Kind.UNMAP, 0, page=number, n_pages=1)
    held = sum(sys.getsizeof(column) for chunk in (*events._chunks, *events._recent) for column in chunk)
    assert held < 60 * n
    with ContentStore() as store:
        for _ in range(2):  # a checkpoint, and the next
            trace = events.trace({}, [], store.rank())
            assert np.array_equal(trace.events.page, np.arange(n))
