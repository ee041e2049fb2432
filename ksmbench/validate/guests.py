"""A trace under another kernel: the player is the only program of a guest, and plays one script after another there."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Trace
from ksmbench.validate.kernel import player
from ksmbench.validate.kernels import KernelFiles
from ksmbench.validate.outcome import Played, read_result
from ksmbench.validate.script import write_script
from ksmbench.validate.vm import Guest, KernelError

_PLAYER, _SCRIPT, _RESULT = "/player", "/script", "/result"


def guest_that_plays(kernel: KernelFiles, *, memory_mib: int = 512, numa_nodes: int = 1) -> Guest:
    """A guest with `kernel` for `guest_play`; booted by entering it."""
    return Guest(kernel, {_PLAYER: player()}, memory_mib=memory_mib, numa_nodes=numa_nodes)


def guest_play(guest: Guest, *, frames: bool = False) -> Callable[..., Played]:
    """Plays in a booted guest, for `ksmbench.validate.agreement`."""

    def play(trace: Trace, times: npt.NDArray[np.int64], settings: dict[str, int]) -> Played:
        with tempfile.TemporaryDirectory(prefix="ksmbench-play-") as folder:
            script, result = Path(folder, "script"), Path(folder, "result")
            write_script(trace, script, times, settings, frames=frames)
            ran = guest.run([_PLAYER, _SCRIPT, _RESULT], inputs={_SCRIPT: script.read_bytes()}, outputs=[_RESULT])
            if _RESULT not in ran.outputs:
                raise KernelError(f"{guest.name}: the player left no result: {ran.printed.strip() or ran.status}")
            result.write_bytes(ran.outputs[_RESULT])
            return read_result(result, times)

    return play
