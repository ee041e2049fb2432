"""What pre-forking servers have in common: a controller, and workers that take requests from one unix socket."""

import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Service(Protocol):
    """What a server does: loaded in the controller, forked with every worker."""

    def enter(self, number: int) -> int:
        """Begin as worker `number`; returns after how many requests it ends."""

    def answer(self, connection: socket.socket) -> None:
        """Answer one request."""

    def between(self) -> None:
        """Be called in a worker after each request, and each half second without one."""

    def beat(self) -> None:
        """Be called in the controller each tenth of a second."""


def _work(service: Service, listening: socket.socket, number: int) -> None:
    # A worker's life.
    left = service.enter(number)
    while left:
        if select.select([listening], [], [], 0.5)[0]:
            try:
                connection, _ = listening.accept()
            except BlockingIOError:
                continue  # another worker was faster
            connection.setblocking(True)
            with connection, suppress(ConnectionError):  # a client that went
                service.answer(connection)
            left -= 1
        service.between()


class Controller:
    """Keeps `n` workers of a service running; a worker that ends is replaced by a fork of the controller as it is."""

    def __init__(self, service: Service, n: int, path: str) -> None:
        self._service = service
        self._n = n
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(256)
        self._socket.setblocking(False)
        self._workers: dict[int, int] = {}  # process id to number
        self._ends = False

    def _fork(self, number: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # a child must not get the controller's handler
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                _work(self._service, self._socket, number)
                status = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(status)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._workers[pid] = number

    def _end(self, *_: object) -> None:
        self._ends = True

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, then end the workers."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        for number in range(self._n):
            self._fork(number)
        while not self._ends:
            time.sleep(0.1)
            while self._workers:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._fork(self._workers.pop(pid))
            self._service.beat()
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        for pid in self._workers:
            os.waitpid(pid, 0)


def each(seconds: float, do: Callable[[], None]) -> Callable[[], None]:
    """A function to be called often, which does it each so many seconds."""
    due = time.monotonic() + seconds

    def beat() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due += seconds
            do()

    return beat
