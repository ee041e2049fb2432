"""A small trace on disk for the commands."""

from pathlib import Path

import pytest

from ksmbench.trace.store import write_trace
from tests.report.synthetic import synthetic_trace


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines of 200 pages over 5 s."""
    folder = tmp_path_factory.mktemp("trace") / "small"
    write_trace(synthetic_trace(2, 200, 5), folder)
    return folder
