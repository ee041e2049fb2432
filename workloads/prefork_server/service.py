"""The server: a controller that loads a catalogue and forks workers, which answer HTTP over one unix socket.

    python -m workloads.prefork_server.service SOCKET

Workers share what the controller loaded until they write: counters of visits with each request, their own cache of
answers, and the catalogue's prices whenever the controller announces new ones, which every worker then computes in its
own memory. A worker ends after some hundred requests and is replaced by a fork of the controller as that is by then.
"""

import gc
import json
import mmap
import random
import socket
import struct
import sys
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler
from typing import Any

from workloads.mergeable import advise_all
from workloads.preforking import Controller, each

WORKERS = 12
ITEMS = 24_000
CATEGORIES = 40
_MAX_REQUESTS = 300  # of a worker, and a seventh more for each further one, so that they do not all end at once
_CACHED = 400  # answers in a worker's cache
_REPRICE_S = 5.0
_ROW = struct.Struct("<qdd40s")  # item, price, visits, when it was changed
_WORDS = ("iron", "oak", "river", "north", "amber", "quiet", "stone", "lamp", "field", "copper", "glass", "harbour")


class Catalogue:
    """Descriptions as Python objects on the heap, and a table of rows of 64 bytes in an anonymous mapping."""

    def __init__(self) -> None:
        random_words = random.Random(2009)
        self.items: dict[str, dict[str, Any]] = {}
        self.table = mmap.mmap(-1, ITEMS * 256, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.epoch = 0
        for number in range(ITEMS):
            name = f"item-{number:05d}"
            text = " ".join(random_words.choices(_WORDS, k=60))
            self.items[name] = {
                "number": number,
                "category": number % CATEGORIES,
                "text": text,
                "tags": text.split()[:4],
            }
            self._put(number, 1.0 + number % 97, 0.0)

    def _put(self, number: int, price: float, visits: float) -> None:
        _ROW.pack_into(self.table, number * 256, number, price, visits, f"epoch {self.epoch}".encode())

    def visit(self, name: str) -> bytes:
        """Count a visit in the item's row and return the answer."""
        item = self.items[name]
        _, price, visits, _ = _ROW.unpack_from(self.table, item["number"] * 256)
        self._put(item["number"], price, visits + 1)
        return json.dumps({**item, "price": price}).encode()

    def reprice(self, epoch: int) -> None:
        """Compute the prices of one category anew: the same in whichever process does it."""
        self.epoch = epoch
        first = epoch % CATEGORIES * (ITEMS // CATEGORIES)
        for number in range(first, first + ITEMS // CATEGORIES):
            self._put(number, 1.0 + (number * 31 + epoch * 17) % 997 / 10, 0.0)


class _Handler(BaseHTTPRequestHandler):
    catalogue: Catalogue
    cache: "OrderedDict[str, bytes]"

    def do_GET(self) -> None:  # the name that http.server calls
        name = self.path.rpartition("/")[2]
        answer = self.cache.pop(name, None) or self.catalogue.visit(name)
        self.cache[name] = answer
        if len(self.cache) > _CACHED:
            self.cache.popitem(last=False)
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        pass


class Shop:
    """The service. `_news` is shared: the controller writes the latest epoch into it."""

    def __init__(self) -> None:
        self._catalogue = Catalogue()
        self._news = mmap.mmap(-1, mmap.PAGESIZE)
        gc.collect()
        gc.freeze()  # as pre-forking servers do, so that a collection does not write to every object
        advise_all()
        self.beat = each(_REPRICE_S, self._announce)

    def _announce(self) -> None:
        self._catalogue.reprice(self._catalogue.epoch + 1)
        self._news[:8] = self._catalogue.epoch.to_bytes(8, "little")

    def enter(self, number: int) -> int:
        """Begin as a worker."""
        _Handler.catalogue, _Handler.cache = self._catalogue, OrderedDict()
        return _MAX_REQUESTS * (7 + number) // 7

    def answer(self, connection: socket.socket) -> None:
        """Answer one request in HTTP."""
        _Handler(connection, "unix", None)  # type: ignore[arg-type]

    def between(self) -> None:
        """Compute the prices that were announced."""
        epoch = int.from_bytes(self._news[:8], "little")
        while self._catalogue.epoch < epoch:
            self._catalogue.reprice(self._catalogue.epoch + 1)
            advise_all()  # what the interpreter has mapped since


def main() -> None:
    """Serve at the socket named on the command line, until SIGTERM."""
    Controller(Shop(), WORKERS, sys.argv[1]).run()


if __name__ == "__main__":
    main()
