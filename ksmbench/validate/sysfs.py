"""The running kernel's KSM, for one user at a time.

KSM is one thing per machine. `KsmSession` holds it alone (`ksmbench.validate.lock`), starts from nothing merged, and
puts every setting back when it ends, also after a failure or a signal; after a kill the next session does.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

from ksmbench.errors import KsmbenchError
from ksmbench.validate.lock import erase, is_taken, record, recorded, take_lock
from ksmbench.validate.script import DEFAULTS

ROOT = Path("/sys/kernel/mm/ksm")
# Every setting that a session may change.
SETTINGS = (*DEFAULTS, "sleep_millisecs")
_NOTHING_LEFT = ("pages_shared", "pages_sharing", "pages_unshared", "pages_volatile")
_RESTORE_S = 10.0
_IN_USE = "KSM is in use on this host (run is 1); stop it with: echo 0 > /sys/kernel/mm/ksm/run"


def why_not() -> str | None:
    """What this host lacks for playing traces on its kernel, in one sentence, or None."""
    if os.geteuid() != 0:
        return "playing on the running kernel needs root; run it with sudo"
    if not ROOT.is_dir():
        return f"this kernel has no KSM ({ROOT} is missing)"
    if not os.access(ROOT / "run", os.W_OK):
        return f"{ROOT / 'run'} cannot be written here, as in a container"
    if not _is_ksmd_visible():
        return "ksmd is not visible in /proc"
    if read("run") == "1" and not is_taken():
        return _IN_USE
    return None


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # it has ended


def _is_ksmd_visible() -> bool:
    return any(_text(entry / "comm") == "ksmd\n" for entry in _processes())


def _is_mergeable(process: Path) -> bool:
    told = _text(process / "ksm_stat")
    if "ksm_mergeable:" in told:
        return "ksm_mergeable: yes" in told or "ksm_merge_any: yes" in told
    flags = (line for line in _text(process / "smaps").splitlines() if line.startswith("VmFlags:"))
    return any("mg" in line.split() for line in flags)


def mergeable_processes() -> list[str]:
    """Processes that asked for merging, as "pid (command)"."""
    return [f"{entry.name} ({_text(entry / 'comm').strip()})" for entry in _processes() if _is_mergeable(entry)]


def read(name: str) -> str:
    """A file under /sys/kernel/mm/ksm; of a choice, what is chosen."""
    text = (ROOT / name).read_text().strip()
    return text.split("[")[1].split("]")[0] if "[" in text else text


def store(name: str, value: int | str) -> None:
    """Write a file under /sys/kernel/mm/ksm; `OSError` where the kernel refuses."""
    with (ROOT / name).open("w") as file:
        file.write(str(value))


def _stored(name: str, value: str) -> bool:
    # max_page_sharing is refused as long as a merged page is mapped anywhere.
    try:
        store(name, value)
    except OSError:
        return False
    return True


def _settings_found() -> dict[str, str]:
    return {name: read(name) for name in (*SETTINGS, "run") if (ROOT / name).exists()}


def _unmerge() -> None:
    store("run", 0)
    store("run", 2)
    store("run", 0)


def _put_back(settings: dict[str, str]) -> None:
    # The processes of a session that was killed may take a moment to end.
    refused = dict(settings)
    deadline = time.monotonic() + _RESTORE_S
    while refused and time.monotonic() < deadline:
        _unmerge()
        refused = {name: value for name, value in refused.items() if not _stored(name, value)}
    if refused:
        raise KsmbenchError(f"KSM did not take its old settings back: {refused}; store them by hand")


class KsmSession:
    """Sole use of the kernel's KSM, with nothing merged; a context manager that puts every setting back.

    `waits` is called where another session has it and this one is about to wait.
    """

    def __init__(self, waits: Callable[[], None] | None = None) -> None:
        self._waits = waits
        self._saved: dict[str, str] = {}
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "KsmSession":
        problem = why_not()
        if problem:
            raise KsmbenchError(f"{problem}")
        self._lock = take_lock(self._waits)
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def _begin(self) -> None:
        left_behind = recorded(self._lock)
        if left_behind:
            _put_back(left_behind)
        elif read("run") == "1":
            raise KsmbenchError(_IN_USE)
        others = mergeable_processes()
        if others:
            raise KsmbenchError(f"other processes can be merged here, end them first: {', '.join(others[:8])}")
        self._saved = _settings_found()
        record(self._lock, self._saved)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _stop)
        try:
            _unmerge()
            left = {name: value for name in _NOTHING_LEFT if (value := int(read(name)))}
            if left:
                raise KsmbenchError(f"KSM still holds {left}; another process uses it, end that first")
        except BaseException:
            self._restore()
            raise

    def fileno(self) -> int:
        """The lock's descriptor: who inherits it holds the lock on."""
        return self._lock.fileno()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        try:
            _put_back(self._saved)
            erase(self._lock)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            self._lock.close()


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {number}")
