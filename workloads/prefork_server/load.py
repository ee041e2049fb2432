"""The clients: requests at a steady rate for items that are asked for unequally often, from a seed."""

import http.client
import random
import socket
import time
from collections.abc import Callable

from workloads.prefork_server.service import ITEMS

REQUESTS_PER_S = 150


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def send(path: str, goes_on: Callable[[], bool], *, items: int = ITEMS, rate: float = REQUESTS_PER_S) -> int:
    """Send `rate` requests a second until `goes_on` says no; returns how many were answered."""
    choice = random.Random(18)
    answered = 0
    due = time.monotonic()
    while goes_on():
        name = f"item-{int(items * choice.random() ** 4):05d}"  # half of them for a sixteenth of the items
        connection = _Connection(path)
        try:
            connection.request("GET", f"/items/{name}")
            answered += len(connection.getresponse().read()) > 0
        except OSError:
            pass  # the server is ending
        finally:
            connection.close()
        due = max(due + 1 / rate, time.monotonic() - 1)  # a server that was slow is not flooded
        time.sleep(max(0.0, due - time.monotonic()))
    return answered
