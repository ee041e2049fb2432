"""One small comparison for the tests of the report."""

from pathlib import Path

import pytest

from ksmbench.comparing import compare
from ksmbench.result import Comparison
from tests.report.synthetic import synthetic_trace

DESIGNS = ("none", "ksm-6.18", "ksm-6.18,pages_to_scan=1000", "oracle")


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    """Two machines over 20 s, with four designs."""
    return compare(synthetic_trace(2, 300, 20), DESIGNS)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report of the same."""
    folder = tmp_path_factory.mktemp("report") / "out"
    compare(synthetic_trace(2, 300, 20), DESIGNS, folder)
    return folder
