"""Where replays run: processes of this machine, or a Dask cluster; a `concurrent.futures.Executor` either way."""

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import ksmbench
from ksmbench.errors import KsmbenchError, UsageError

_CONNECT_WITHIN = 15  # seconds
_LOGGERS = ("distributed", "distributed.client", "distributed.utils", "tornado.application")


class WorkerLostError(BrokenExecutor):
    """A worker ended in the middle of its replay."""


class Workers(Executor):
    """`n` processes with one call at a time each. One that is killed fails its call alone, and is replaced.

    `concurrent.futures` has such a pool, but there the death of one process fails the calls of all, and each process
    imports the program that started it.
    """

    def __init__(self, n: int) -> None:
        self._threads = ThreadPoolExecutor(n, thread_name_prefix="worker")  # each waits for a process of its own
        self._own = threading.local()
        self._lock = threading.Lock()
        self._alive: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @property
    def pids(self) -> list[int]:
        """The processes that are there now; one starts with its first call."""
        with self._lock:
            return sorted(process.pid for process in self._alive)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `function` in the next process that is free; all of it must be picklable."""
        return self._threads.submit(self._call, function, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: after all calls, or at once with `cancel_futures`."""
        if cancel_futures:
            with self._lock:
                self._stopped = True
                for process in self._alive:
                    process.kill()
        self._threads.shutdown(wait=wait or cancel_futures, cancel_futures=cancel_futures)
        for process in list(self._alive):
            self._end(process)

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        process = self._process()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(pickle.dumps((function, args, kwargs)), process.stdin)
            process.stdin.flush()
            fine, value = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise WorkerLostError(f"its worker {self._end(process)}") from None
        if not fine:
            raise RuntimeError(value)
        return value

    def _process(self) -> subprocess.Popen[bytes]:
        # That of this thread. Its group is its own: a Ctrl-C is for the program that waits for it.
        process: subprocess.Popen[bytes] | None = getattr(self._own, "process", None)
        if process is not None and process.poll() is None:
            return process
        package = str(Path(ksmbench.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        with self._lock:
            if self._stopped:
                raise WorkerLostError("its worker was ended")
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ksmbench.sweeping.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": path, "POLARS_MAX_THREADS": "1"},
                process_group=0,
            )
            self._alive.add(process)
        self._own.process = process
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        # Closes and awaits; how it ended.
        for pipe in (process.stdin, process.stdout):
            try:
                assert pipe is not None
                pipe.close()
            except OSError:
                pass
        status = process.wait()
        with self._lock:
            self._alive.discard(process)
        return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


@contextmanager
def local_executor(jobs: int | None) -> Iterator[Executor]:
    """`jobs` processes, by default one per core that this process may use."""
    workers = Workers(jobs or len(os.sched_getaffinity(0)))
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)


class _DaskWorkers(Executor):
    # Dask's own executor, which takes calls also while its scheduler is gone, and never ends them.

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self._address = address
        self._calls: Executor = client.get_executor(pure=False)

    @property
    def lost(self) -> str | None:
        """Why no call will end any more; None while there is a scheduler."""
        if self._client.status == "running":
            return None
        return f"the Dask scheduler at {self._address} is gone; what is finished is kept, start it and sweep again"

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.lost is not None:
            raise BrokenExecutor(self.lost)
        return self._calls.submit(function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self.lost is None:
            self._calls.shutdown(wait=wait)


@contextmanager
def _without_logs() -> Iterator[None]:
    # Dask logs every worker that it loses, some as tracebacks; whoever sweeps is told what it means in a sentence.
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """The workers of the Dask scheduler at `address`, as tcp://host:8786."""
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise UsageError('--dask needs Dask; install it with: pip install "ksmbench[cluster]"') from None
    with _without_logs():
        try:
            client = distributed.Client(address, timeout=_CONNECT_WITHIN)
        except ValueError:
            raise UsageError(f"--dask {address}: no address of a scheduler; write it as tcp://host:8786") from None
        except OSError as error:
            text = " ".join(str(error).split())
            raise KsmbenchError(f"--dask {address}: no Dask scheduler answers there ({text})") from None
        with client:
            executor = _DaskWorkers(client, address)
            try:
                yield executor
            finally:
                executor.shutdown(wait=False)
