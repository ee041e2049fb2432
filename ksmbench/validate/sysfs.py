"""The running kernel's KSM: its settings, its counters, and one batch of ksmd at a time.

KSM is one thing per machine. `KsmSession` holds it alone (`ksmbench.validate.lock`), starts from nothing merged, and
puts every setting back when it ends, also after a failure or a signal; after a kill the next session does.
"""

import os
import signal
import time
from pathlib import Path
from types import FrameType, TracebackType

from ksmbench.errors import KsmbenchError
from ksmbench.validate.lock import erase, is_taken, record, recorded, take_lock

ROOT = Path("/sys/kernel/mm/ksm")
# Every setting that a session touches, with the value it has unless told otherwise: the kernel's default.
SETTINGS: dict[str, int | str] = {
    "advisor_mode": "none",
    "pages_to_scan": 100,
    "sleep_millisecs": 20,
    "smart_scan": 1,
    "use_zero_pages": 0,
    "max_page_sharing": 256,
    "stable_node_chains_prune_millisecs": 2000,
    "merge_across_nodes": 1,
}
COUNTERS = (
    "full_scans",
    "pages_scanned",
    "pages_shared",
    "pages_sharing",
    "pages_unshared",
    "pages_volatile",
    "pages_skipped",
    "ksm_zero_pages",
    "stable_node_chains",
    "stable_node_dups",
    "general_profit",
)
_NOTHING_LEFT = ("pages_shared", "pages_sharing", "pages_unshared", "pages_volatile")
# Counted from the start of the session. ksm_zero_pages is among them because a kernel can be left with some for ever: a
# fork adds all of the parent's to the total, also those in mappings that it does not copy (MADV_DONTFORK).
_SINCE_BOOT = ("pages_scanned", "pages_skipped", "cow_breaks", "ksm_zero_pages", "general_profit")
# Sleeps that never end by themselves: a store of the other one makes ksmd run one batch.
_SLEEPS = (4_000_000_000, 4_000_000_001)
_PATIENCE_S = 600.0
_RESTORE_S = 10.0
_IN_USE = "KSM is in use on this host (run is 1); stop it with: echo 0 > /sys/kernel/mm/ksm/run"


def why_not() -> str | None:
    """What this host lacks for playing traces on its kernel, in one sentence, or None."""
    if os.geteuid() != 0:
        return "playing on the running kernel needs root"
    if not ROOT.is_dir():
        return f"this kernel has no KSM ({ROOT} is missing)"
    if not (ROOT / "smart_scan").exists():
        return "this kernel's KSM is older than 6.7 (no smart_scan)"
    if _ksmd_pid() is None:
        return "ksmd is not visible in /proc"
    if read("run") == "1" and not is_taken():
        return _IN_USE
    return None


def _ksmd_pid() -> int | None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text() == "ksmd\n":
                    return int(entry.name)
            except OSError:
                continue
    return None


def read(name: str) -> str:
    """A file under /sys/kernel/mm/ksm."""
    return (ROOT / name).read_text().strip()


def store(name: str, value: int | str) -> None:
    """Write a file under /sys/kernel/mm/ksm; `OSError` where the kernel refuses."""
    with (ROOT / name).open("w") as file:
        file.write(str(value))


def _cow_ksm() -> int:
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("cow_ksm "):
            return int(line.split()[1])
    return 0


def _stored(name: str, value: str) -> bool:
    # max_page_sharing is refused as long as a merged page is mapped anywhere.
    try:
        store(name, value)
    except OSError:
        return False
    return True


def _settings_found() -> dict[str, str]:
    found = {name: read(name) for name in SETTINGS if (ROOT / name).exists()}
    if "advisor_mode" in found:
        found["advisor_mode"] = found["advisor_mode"].split("[")[1].split("]")[0]
    return found | {"run": read("run")}


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
    """Sole use of the kernel's KSM, stepped batch by batch; a context manager."""

    def __init__(self, settings: dict[str, int]) -> None:
        self._settings = settings
        self._saved: dict[str, str] = {}
        self._base: dict[str, int] = {}
        self._turn = 0
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "KsmSession":
        problem = why_not()
        if problem:
            raise KsmbenchError(f"{problem}")
        pid = _ksmd_pid()
        self._status = Path(f"/proc/{pid}/status")
        self._schedstat = Path(f"/proc/{pid}/schedstat")
        self._lock = take_lock()
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
        self._saved = _settings_found()
        record(self._lock, self._saved)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _stop)
        try:
            self._prepare()
        except BaseException:
            self._restore()
            raise

    def _prepare(self) -> None:
        _unmerge()
        left = {name: value for name in _NOTHING_LEFT if (value := int(read(name)))}
        if left:
            raise KsmbenchError(f"KSM still holds {left}; another process uses it, end that first")
        wanted: dict[str, int | str] = {**SETTINGS, **self._settings, "sleep_millisecs": _SLEEPS[0]}
        for name, setting in wanted.items():
            if name in self._saved:
                store(name, setting)
        self._base = {name: 0 for name in _SINCE_BOOT}
        self._base = {name: value for name, value in self.counters().items() if name in _SINCE_BOOT}

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

    def start(self) -> None:
        """Let ksmd run: its first batch, if anything is registered. Returns when it sleeps."""
        before = self._switches()[1]
        store("run", 1)
        self._wait(before)

    def step(self) -> None:
        """Run exactly one batch of ksmd. Returns when it sleeps again."""
        before = self._switches()[1]
        self._turn = 1 - self._turn
        store("sleep_millisecs", _SLEEPS[self._turn])
        self._wait(before)

    def _switches(self) -> tuple[str, int]:
        state, switches = "", 0
        for line in self._status.read_text().splitlines():
            if line.startswith("State:"):
                state = line.split()[1]
            elif line.startswith("voluntary_ctxt_switches:"):
                switches = int(line.split()[1])
        return state, switches

    def _wait(self, before: int) -> None:
        # Asleep interruptibly, after a switch: in its own wait, not in one for another CPU. Seen twice, as the two
        # facts are not read at one instant.
        deadline = time.monotonic() + _PATIENCE_S
        last = ("", 0)
        while True:
            now = self._switches()
            if now == last and now[0] == "S" and now[1] > before:
                return
            last = now
            if time.monotonic() > deadline:
                raise KsmbenchError("ksmd did not finish a batch; is the host frozen, or is nothing registered?")

    def cpu_ns(self) -> int:
        """CPU time of ksmd since boot."""
        return int(self._schedstat.read_text().split()[0])

    def counters(self) -> dict[str, int]:
        """The kernel's counters now; those of _SINCE_BOOT since the session began."""
        values = {name: int(read(name)) for name in COUNTERS}
        values["cow_breaks"] = _cow_ksm()
        for name, base in self._base.items():
            values[name] -= base
        return values


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {number}")
