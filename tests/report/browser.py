"""A page in headless Chromium: what it says on the console, how wide it is, what it asks the network for."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Reads the page in frames of both widths: a window of a browser may have a least width.
_PROBE = """<!doctype html><meta charset="utf-8"><body>
<iframe id="it" src="{page}" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>
setTimeout(() => {{
  const page = document.getElementById("it").contentWindow, doc = page.document.documentElement;
  document.body.dataset.found = JSON.stringify({{
    width: doc.clientWidth, content: doc.scrollWidth, plots: page.document.querySelectorAll(".plot svg").length,
    wanted: page.document.querySelectorAll(".plot").length,
    asked: page.performance.getEntriesByType("resource").map((one) => one.name),
  }});
}}, 4000);
</script>"""


@dataclass(frozen=True)
class Found:
    """What the browser found."""

    width: int
    content: int  # width of what is in it
    plots: int  # drawn
    wanted: int
    asked: list[str]  # of the network
    errors: list[str]  # on the console


def look(page: Path, width: int, scratch: Path) -> Found:
    """Open `page` at this width, with a network that has nothing."""
    assert CHROMIUM is not None
    probe = scratch / f"probe-{width}.html"
    probe.write_text(_PROBE.format(page=page.as_uri(), width=width), encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--allow-file-access-from-files",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={scratch / 'profile'}",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
            "--window-size=1600,1000",
            "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    facts = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    errors = [line for line in done.stderr.splitlines() if ":ERROR:CONSOLE" in line or "Uncaught" in line]
    return Found(**facts, errors=errors)
