"""Sweeps whose workers, or which themselves, are killed: nothing is lost, and nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ksmbench import KsmbenchError
from ksmbench.sweeping import Sweep, sweep
from ksmbench.sweeping.executors import Workers
from tests.sweeping.test_sweep import FILES, assert_same, files

VARY = {"pages_to_scan": [*range(50, 80)]}
N_REPLAYS = 33  # with the default and the bounds
NO_DASK = "Dask is not installed: pip install 'ksmbench[cluster]'"
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def whole(trace: Path) -> Sweep:
    """The same sweep, never stopped."""
    with ThreadPoolExecutor(1) as pool:
        return sweep(trace, vary=VARY, executor=pool)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until `condition()` holds."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def workers_of(pid: int) -> list[int]:
    """The processes that replay for a sweep."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_ended_goes_on_where_it_was(
    trace: Path, whole: Sweep, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out"
    vary = "pages_to_scan=" + ",".join(map(str, VARY["pages_to_scan"]))
    command = [sys.executable, "-m", "ksmbench", "sweep", str(trace), "--vary", vary, "-o", str(output), "--jobs", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        wait_for(lambda: len(list(output.glob("unfinished/*.parquet"))) >= 3 or running.poll() is not None, "a result")
        workers = workers_of(running.pid)
        running.send_signal(number)
        said = running.stderr.read()
    assert running.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number)
    if number != signal.SIGKILL:
        assert "replays are done; the same command goes on from there" in said
    wait_for(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers), "workers that end")
    kept = len(list(output.glob("unfinished/*.parquet")))
    assert 3 <= kept < N_REPLAYS
    told: list[tuple[int, int]] = []
    with ThreadPoolExecutor(1) as pool:
        found = sweep(trace, vary=VARY, output=output, executor=pool, progress=lambda *at: told.append(at))
    assert told == [(done, N_REPLAYS) for done in range(kept, N_REPLAYS + 1)]
    assert_same(found, whole)
    assert files(output) == FILES


def test_killed_workers_of_this_machine_lose_nothing(trace: Path, whole: Sweep, tmp_path: Path) -> None:
    workers = Workers(2)

    def kill(done: int, total: int) -> None:
        if done in (3, 12):
            os.kill(workers.pids[0], signal.SIGKILL)

    try:
        assert_same(sweep(trace, vary=VARY, output=tmp_path / "out", executor=workers, progress=kill), whole)
    finally:
        workers.shutdown(cancel_futures=True)


@contextmanager
def dask_processes(folder: Path, n_workers: int) -> Iterator[tuple[str, list[int]]]:
    """`dask scheduler` and as many `dask worker`, as people start them: the address, and the processes' ids."""
    about = folder / "scheduler.json"
    begun: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(about)]
        command = [sys.executable, "-m", "dask", *words, *common]
        begun.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    try:
        start("scheduler", "--port", "0")
        wait_for(lambda: about.exists() and about.read_text().endswith("}"), "a scheduler")
        for _ in range(n_workers):
            start("worker", "--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
        yield json.loads(about.read_text())["address"], [process.pid for process in begun]
    finally:
        for process in begun:
            process.kill()
            process.wait()


def test_a_killed_dask_worker_loses_nothing(trace: Path, whole: Sweep, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason=NO_DASK)
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if done >= 3 and not killed:
            killed.append(workers[1])
            os.kill(workers[1], signal.SIGKILL)

    with dask_processes(tmp_path, 2) as (address, (_, *workers)):
        found = sweep(trace, vary=VARY, output=tmp_path / "out", dask=address, progress=kill)
    assert killed
    assert_same(found, whole)


def test_workers_of_a_local_cluster_that_are_killed_come_back(trace: Path, whole: Sweep) -> None:
    distributed = pytest.importorskip("distributed", reason=NO_DASK)
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if done >= 3 and not killed:
            with distributed.Client(cluster.scheduler_address) as client:
                killed.extend(client.run(os.getpid).values())
            os.kill(killed[0], signal.SIGKILL)

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
    ) as cluster:
        found = sweep(trace, vary=VARY, dask=cluster.scheduler_address, progress=kill)
    assert killed
    assert_same(found, whole)


def test_a_scheduler_that_is_killed_is_told_and_the_rest_is_done_later(
    trace: Path, whole: Sweep, tmp_path: Path
) -> None:
    pytest.importorskip("distributed", reason=NO_DASK)
    output = tmp_path / "out"

    def kill(done: int, total: int) -> None:
        if done == 3:
            os.kill(scheduler, signal.SIGKILL)

    with (
        dask_processes(tmp_path, 1) as (address, (scheduler, _)),
        pytest.raises(KsmbenchError, match="Dask") as caught,
    ):
        sweep(trace, vary=VARY, output=output, dask=address, progress=kill)
    assert "\n" not in str(caught.value)
    assert len(list(output.glob("unfinished/*.parquet"))) >= 3
    with ThreadPoolExecutor(1) as pool:
        assert_same(sweep(trace, vary=VARY, output=output, executor=pool), whole)
