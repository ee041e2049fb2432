"""Reports in a real browser: a quiet console, a quiet network, no wider than the screen or the paper."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ksmbench.comparing import compare
from ksmbench.sweeping import sweep
from tests.report.axe import VERSION, axe_script
from tests.report.browser import CHROMIUM, Browser, browser
from tests.report.synthetic import synthetic_trace

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt-get install chromium")

BUSY = Path(__file__).parents[2] / "traces" / "debian-busy-x4"
SIX = (
    "ksm-6.18",
    "ksm-6.18,pages_to_scan=1000",
    "devksm-2009",
    "madvise-rfc-2009",
    "ksm-rollup-2009",
    "ksm-2.6.32",
)
PAPER = 717  # CSS pixels between the margins of A4

# What reaches beyond the paper, by its text.
_BEYOND = """
[...document.querySelectorAll("table, .plot svg, p, h2, h3, pre, dd")].filter(one => one.checkVisibility()
  && one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(one => one.tagName + " " + one.textContent.slice(0, 60))
"""
# Lightness of the darkest background and of the lightest text, 0 to 255.
_LIGHT = """
(() => {
  const sum = (text) => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return n[3] === 0 ? null : (n[0] + n[1] + n[2]) / 3 * (text.startsWith("color(") ? 255 : 1);
  };
  const all = [...document.querySelectorAll("body, body *")].filter(one => one.checkVisibility());
  const back = all.map(one => sum(getComputedStyle(one).backgroundColor)).filter(one => one !== null);
  const told = [...document.querySelectorAll("p, td, th, h1, h2, h3, dt, dd")];
  const text = told.map(one => sum(getComputedStyle(one).color));
  const axes = [...document.querySelectorAll(".role-axis-label text")].map(one => sum(getComputedStyle(one).fill));
  return [Math.min(...back), Math.max(...text, ...axes)];
})()
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of six designs on four busy guests."""
    folder = tmp_path_factory.mktemp("busy") / "out"
    compare(BUSY, SIX, folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of two designs on two traces."""
    folder = tmp_path_factory.mktemp("swept") / "out"
    traces = [synthetic_trace(2, 300, 20), synthetic_trace(3, 100, 12)]
    sweep(traces, ["ksm-6.18", "ksm-6.1"], {"pages_to_scan": [20, 100, 400, 1000]}, folder)
    return folder / "report.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", ["busy", "swept"])
def test_a_page_on_the_screen(tab: Browser, name: str, width: int, dark: bool, request: pytest.FixtureRequest) -> None:
    page: Path = request.getfixturevalue(name)
    assert page.stat().st_size < 8 << 20
    found = tab.look(page, width, dark=dark)
    assert found.said == []
    assert found.asked == []
    assert found.plots == found.wanted >= 10
    assert found.content <= found.width == width
    assert tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == dark


def test_the_pointer_finds_the_values_of_a_line(tab: Browser, swept: Path) -> None:
    found = tab.look(swept)
    x, y = tab.evaluate(
        "(() => { const plot = [...document.querySelectorAll('.plot')][1]; plot.scrollIntoView({block: 'center'});"
        "const box = plot.querySelector('.background').getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    for step in (0, 3):
        tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + step, y=y)
    tab.evaluate("new Promise(then => setTimeout(then, 300))")
    seen = "[...document.querySelectorAll('.plot')][1].querySelectorAll('.mark-symbol path[opacity=\"1\"]').length"
    assert tab.evaluate(seen) >= 2
    assert found.said == []


@pytest.mark.parametrize("name", ["busy", "swept"])
def test_a_page_on_paper(tab: Browser, name: str, request: pytest.FixtureRequest) -> None:
    tab.look(request.getfixturevalue(name), 1400, dark=True)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    tab.call("Emulation.setEmulatedMedia", media="print", features=[scheme])
    tab.call("Emulation.setDeviceMetricsOverride", width=PAPER, height=1000, deviceScaleFactor=1, mobile=False)
    folded = "document.querySelectorAll('details.means:not([open])').length"
    assert tab.evaluate(folded) > 10
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(folded) == 0
    assert tab.evaluate(_BEYOND) == []
    back, text = tab.evaluate(_LIGHT)
    assert back > 150 > 130 > text
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate(folded) > 10


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["busy", "swept"])
def test_a_checker_of_accessibility_finds_nothing(
    tab: Browser, name: str, dark: bool, request: pytest.FixtureRequest
) -> None:
    cache = request.config.cache
    assert cache is not None
    script = axe_script(cache.mkdir("axe-core"))
    if script is None:
        pytest.skip(f"axe-core {VERSION} cannot be had from the npm registry here")
    tab.look(request.getfixturevalue(name), 1400, dark=dark)
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    tab.evaluate(script + "; undefined")
    found = tab.evaluate(
        "axe.run().then(done => done.violations.map(one => one.id + ': ' + one.nodes.length + ' '"
        " + one.nodes[0].html.slice(0, 200) + ' ' + one.nodes[0].failureSummary))"
    )
    assert found == []


def test_the_first_tab_leads_past_everything(tab: Browser, swept: Path) -> None:
    tab.look(swept)
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    outline = "getComputedStyle(document.querySelector('thead a')).outlineStyle"
    assert tab.evaluate(f"document.querySelector('thead a').focus({{focusVisible: true}}); {outline}") == "solid"
