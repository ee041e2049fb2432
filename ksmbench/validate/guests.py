"""Traces under another kernel: the player is the only program of a guest, and plays one script after another there."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Kind
from ksmbench.validate.kernel import player
from ksmbench.validate.kernels import KernelFiles
from ksmbench.validate.outcome import Played, read_result
from ksmbench.validate.script import UnplayableError, relocation, write_script
from ksmbench.validate.vm import Guest, KernelError

_PLAYER, _SCRIPT, _RESULT = "/player", "/script", "/result"
_LEAST_MIB = 512
_PATIENCE_S = 3600.0  # the player itself gives up sooner, where ksmd is stuck
_KERNEL_MIB = 256  # for the kernel, the script and the result
# The calls that a process needs for an event, and the release that brought them.
_CALLS = {Kind.HUGE: (6, 1), Kind.PRCTL: (6, 4)}  # MADV_COLLAPSE, PR_SET_MEMORY_MERGE


def unplayable_kinds(kernel: KernelFiles) -> list[Kind]:
    """The events that no process can play on `kernel`."""
    version = tuple(int(part) for part in kernel.upstream.split("."))
    return [kind for kind, since in _CALLS.items() if version < since]


def memory_mib(trace: Trace | None = None) -> int:
    """MiB of a guest for scenarios, or to play `trace`: every page it maps, and every content beside them."""
    if trace is None:
        return _LEAST_MIB
    events = trace.events
    mapped = int(events.n_pages[events.kind == Kind.MAP].sum())
    pages = mapped + len(trace.contents.lcp)
    return max(_LEAST_MIB, _KERNEL_MIB + pages * trace.page_size // (1 << 20) + len(events.kind) * 64 // (1 << 20))


class GuestPlay:
    """Plays in a guest, for `ksmbench.validate.agreement`; a context manager that boots it and ends it.

    A guest that ends in the middle of a trace, as by a panic, makes that trace unplayable; the next has a new guest.
    """

    def __init__(
        self, kernel: KernelFiles, *, nodes: int = 1, memory_mib: int = _LEAST_MIB, frames: bool = False
    ) -> None:
        self._kernel = kernel
        self._nodes = nodes
        self._memory_mib = memory_mib
        self._frames = frames
        self._guest: Guest | None = None
        self._held = ExitStack()

    def __enter__(self) -> "GuestPlay":
        self._booted()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _booted(self) -> Guest:
        if self._guest is None:
            guest = Guest(self._kernel, {_PLAYER: player()}, memory_mib=self._memory_mib, numa_nodes=self._nodes)
            self._guest = self._held.enter_context(guest)
        return self._guest

    def __call__(
        self, trace: Trace, times: npt.NDArray[np.int64], settings: dict[str, int], *, timeout: float = _PATIENCE_S
    ) -> Played:
        """Play `trace` with ksmd stepped at `times`, in `timeout` seconds."""
        with tempfile.TemporaryDirectory(prefix="ksmbench-play-") as folder:
            script, result = Path(folder, "script"), Path(folder, "result")
            write_script(trace, script, times, settings, frames=self._frames, merges=self._frames)
            result.write_bytes(self._result_of(script.read_bytes(), timeout))
            return read_result(result, times, relocation(trace))

    def _result_of(self, script: bytes, timeout: float) -> bytes:
        guest = self._booted()
        try:
            command = [_PLAYER, _SCRIPT, _RESULT]
            ran = guest.run(command, inputs={_SCRIPT: script}, outputs=[_RESULT], timeout=timeout)
        except KernelError as error:
            self._guest = None
            self._held.close()
            raise UnplayableError(str(error)) from None
        if _RESULT not in ran.outputs:
            raise KernelError(f"{guest.name}: the player left no result: {ran.printed.strip() or ran.status}")
        return ran.outputs[_RESULT]
