"""Headless Chromium over its devtools protocol: what a page says on the console, asks for, and looks like."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_WITHIN = 60.0  # seconds, for any answer
_HIGH = 20  # above the descriptors 3 and 4, which Chromium reads and writes

# Becomes Chromium, with these two descriptors as 3 and 4.
_START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)


@dataclass(frozen=True)
class Found:
    """What a page is like."""

    width: int
    content: int  # width of what is in it
    plots: int  # drawn
    wanted: int
    asked: list[str]  # of the network or of other files
    said: list[str]  # on the console, of any level


class Browser:
    """One tab."""

    def __init__(self, to: int, answers: int) -> None:
        self._to, self._answers = to, answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a method of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._next()
            if answer.get("id") != self._number:
                self._events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            else:
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _WITHIN
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._answers, 1 << 20) if ready else b""
            if not more:
                raise TimeoutError(f"Chromium did not answer within {_WITHIN:.0f} s")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))

    def evaluate(self, script: str) -> Any:
        """The value of a script, awaited."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(str(done["exceptionDetails"])[:2000])
        return done["result"].get("value")

    def look(self, page: Path, width: int = 1400, *, dark: bool = False) -> Found:
        """Open `page` at this width, and wait until its plots are drawn."""
        self._events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Page.navigate", url=page.as_uri())
        end = time.monotonic() + _WITHIN
        drawn = (
            "document.readyState === 'complete' && document.querySelectorAll('.plot svg').length === "
            "document.querySelectorAll('.plot').length"
        )
        while not self.evaluate(drawn) and time.monotonic() < end:
            time.sleep(0.1)
        facts = self.evaluate(
            "new Promise(then => requestAnimationFrame(() => setTimeout(() => then({"
            "width: innerWidth, content: document.scrollingElement.scrollWidth, "
            "plots: document.querySelectorAll('.plot svg').length, "
            "wanted: document.querySelectorAll('.plot').length}), 300)))"
        )
        return Found(**facts, asked=list(self._asked(page)), said=list(self._said()))

    def _asked(self, page: Path) -> Iterator[str]:
        for event in self._events:
            if event["method"] == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                if url.partition("#")[0] != page.as_uri() and not url.startswith("data:"):
                    yield url

    def _said(self) -> Iterator[str]:
        for event in self._events:
            told = event["params"]
            if event["method"] == "Runtime.consoleAPICalled":
                yield " ".join(str(one.get("value", one.get("description"))) for one in told["args"])
            elif event["method"] == "Runtime.exceptionThrown":
                yield str(told["exceptionDetails"].get("exception", {}).get("description", told))
            elif event["method"] == "Log.entryAdded":
                yield str(told["entry"]["text"])

    def screenshot(self, to: Path) -> None:
        """The whole page as PNG."""
        made = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        to.write_bytes(base64.b64decode(made["data"]))

    def print(self, to: Path) -> None:
        """The page as it is printed, PDF on A4."""
        made = self.call("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)
        to.write_bytes(base64.b64decode(made["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self.call("Browser.close")


@contextmanager
def browser(scratch: Path) -> Iterator[Browser]:
    """A browser whose network has nothing, with its profile in `scratch`."""
    assert CHROMIUM is not None
    theirs_in, to = os.pipe()
    answers, theirs_out = os.pipe()
    handed = [fcntl.fcntl(one, fcntl.F_DUPFD, _HIGH) for one in (theirs_in, theirs_out)]
    options = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={scratch / 'profile'}",
        "--remote-debugging-pipe",
    )
    command = [sys.executable, "-c", _START, *map(str, handed), CHROMIUM, *options]
    process = subprocess.Popen(command, pass_fds=handed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for one in (theirs_in, theirs_out, *handed):
        os.close(one)
    try:
        tab = Browser(to, answers)
        yield tab
        tab.close()
    finally:
        for one in (to, answers):
            os.close(one)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
