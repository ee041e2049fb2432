"""The report in a real browser: nothing on the console, nothing asked of the network, no wider than the screen."""

from pathlib import Path

import pytest

from tests.report.browser import CHROMIUM, look


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt-get install chromium")
@pytest.mark.parametrize("width", [400, 1400])
def test_the_report_in_chromium(report: Path, width: int, tmp_path: Path) -> None:
    found = look(report / "report.html", width, tmp_path)
    assert found.errors == []
    assert found.asked == []
    assert found.plots == found.wanted == 10
    assert found.content <= found.width <= width
