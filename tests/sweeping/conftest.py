"""A small trace on disk, and one whose recorded changes of settings differ from what is varied."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import write_trace
from tests.report.synthetic import synthetic_trace


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines of 200 pages over 5 s."""
    folder = tmp_path_factory.mktemp("sweep") / "small"
    write_trace(synthetic_trace(2, 200, 5), folder)
    return folder


@pytest.fixture(scope="session")
def tuned_trace() -> Trace:
    """The same, with pages_to_scan set to 7 after one second and smart_scan to 0 after two."""
    trace = synthetic_trace(2, 200, 5)
    events = trace.events
    for name, second, value in ((0, 1, 7), (1, 2, 0)):
        at = int(np.searchsorted(events.time_ns, second * 10**9))
        row = (second * 10**9, Kind.TUNE, 0, 0, 0, value, 0, name)
        events = type(events)(*(np.insert(column, at, it) for column, it in zip(events, row, strict=True)))
    return replace(trace, events=events, names=("pages_to_scan", "smart_scan"))
