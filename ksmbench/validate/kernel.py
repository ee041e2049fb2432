"""A trace on the running kernel: real processes play the events, ksmd is stepped batch by batch.

The result has the form of a replay's samples (`ksmbench.replay`, sample "batch", cost "none"), so that the two can be
compared row by row.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.trace.columns import Trace
from ksmbench.validate.agreement import Play
from ksmbench.validate.building import built
from ksmbench.validate.outcome import Played, batches_done, read_result
from ksmbench.validate.script import relocation, write_script
from ksmbench.validate.sysfs import KsmSession

_PLAYER = Path(__file__).parent / "player"
_LOOK_S = 0.2

Told = Callable[[float], None]  # the part that is done, 0 to 1


def player() -> Path:
    """The program that plays a script on any kernel; built at the first call."""
    return built(_PLAYER)


def batch_times(trace: Trace, n_batches: int, sleep_millisecs: int = 20) -> npt.NDArray[np.int64]:
    """The times of `n_batches` of ksmd that never idles, from the first event on."""
    return int(trace.events.time_ns[0]) + np.arange(n_batches, dtype=np.int64) * (sleep_millisecs * 1_000_000)


def _run(command: list[str], session: KsmSession, watch: Callable[[], None]) -> None:
    # The lock is inherited: should this process be killed, nobody gets it before the players are gone.
    process = subprocess.Popen(command, pass_fds=(session.fileno(),))
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_S)
            watch()
    finally:
        process.kill()
        process.wait()


def play_on_kernel(
    trace: Trace,
    *,
    n_batches: int = 0,
    times: npt.NDArray[np.int64] | None = None,
    sleep_millisecs: int = 20,
    frames: bool = False,
    merges: bool = False,
    pages: int | None = None,
    spoiled: int = 0,
    session: KsmSession | None = None,
    progress: Told | None = None,
    waits: Callable[[], None] | None = None,
    **settings: int,
) -> Played:
    """Play `trace` on this host's kernel, with ksmd stepped batch by batch.

    Batches are at `times` (ns; each sees the events up to then), or `n_batches` of them, `sleep_millisecs` apart from
    the first event on. `frames` adds pages_anon, frames and frames_ksm, read from the page tables after every batch,
    and `merges` the merge events of tracefs, where it is there.
    `pages` is a file descriptor of the contents' bytes in their order; without it they are made up. Before every batch
    so many bytes as `spoiled` are used on ksmd's processor, whose caches then hold nothing else. `session` is one
    that the caller holds already; without it `waits` is called where another has to end first. Needs root; raises
    `KsmbenchError` with a sentence where something is missing or cannot be played.
    """
    if times is None:
        times = batch_times(trace, n_batches, sleep_millisecs)
    with tempfile.TemporaryDirectory(prefix="ksmbench-play-") as folder, contextlib.ExitStack() as held:
        script, result = Path(folder) / "script", Path(folder) / "result"
        write_script(trace, script, times, settings, frames=frames, merges=merges, with_contents=pages is None)
        program = player()
        if session is None:
            session = held.enter_context(KsmSession(waits))
        command = [str(program), str(script), str(result), "--parent", str(os.getpid())]
        if pages is not None:
            command += ["--pages", f"/proc/{os.getpid()}/fd/{pages}"]
        if spoiled:
            command += ["--spoil", str(spoiled)]

        def watch() -> None:
            if progress is not None:
                progress(batches_done(result) / max(1, len(times)))

        _run(command, session, watch)
        return read_result(result, times, relocation(trace))


def host_play(
    *,
    frames: bool = False,
    progress: Told | None = None,
    session: KsmSession | None = None,
    waits: Callable[[], None] | None = None,
) -> Play:
    """Plays on this host, for `ksmbench.validate.agreement`."""

    def play(trace: Trace, times: npt.NDArray[np.int64], settings: dict[str, int]) -> Played:
        options: dict[str, Any] = {**settings, "progress": progress, "session": session, "waits": waits}
        return play_on_kernel(trace, times=times, frames=frames, merges=frames, **options)

    return play
