"""The service: a controller that opts in and loads little, and workers that come to hold the same as they serve.

    python -m workloads.prefork_prctl.service SOCKET

A worker renders the pages of a category when it is first asked for one of them, in memory of its own: what most of the
32 hold after a while is equal, and in frames that fork never shared. Now and then the controller announces that a
category has changed, and every worker renders it anew when it is next asked. Beside that a worker writes what nobody
else has: a journal of its requests, and a cache of answers.
"""

import gc
import http.client
import json
import mmap
import random
import socket
import sys
from collections import OrderedDict

from workloads.mergeable import opt_in
from workloads.preforking import Controller, each

WORKERS = 32
ITEMS = 4_000
CATEGORIES = 40
_PAGE_BYTES = 1_500  # of an item's page, rendered
_CATEGORY_BYTES = ITEMS // CATEGORIES * _PAGE_BYTES
_JOURNAL_BYTES = 1 << 20  # which is then written over from its start
_RECORD_BYTES = 512
_CACHED = 100  # answers in a worker's cache
_CHANGE_S = 4.0
_MAX_REQUESTS = 350  # of a worker, and a sixteenth more for each further one
_WORDS = ("iron", "oak", "river", "north", "amber", "quiet", "stone", "lamp", "field", "copper", "glass", "harbour")


def _area(n_bytes: int) -> mmap.mmap:
    return mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class Site:
    """Items as Python objects, which all share from the fork on, and what a worker makes of them."""

    def __init__(self) -> None:
        words = random.Random(2023)
        self.items = {
            f"item-{number:05d}": {"number": number, "tags": words.choices(_WORDS, k=12)} for number in range(ITEMS)
        }
        self._names = list(self.items)
        self._pages = _area(CATEGORIES * _CATEGORY_BYTES)
        self._rendered = [-1] * CATEGORIES  # the change that this worker's pages of a category are of
        self._changes = mmap.mmap(-1, mmap.PAGESIZE)  # shared: how often each category has changed, a byte each
        self._next = 0
        self._journal = _area(_JOURNAL_BYTES)
        self._written = 0
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._number = -1
        gc.collect()
        gc.freeze()  # as pre-forking servers do
        self.beat = each(_CHANGE_S, self._change)

    def _change(self) -> None:
        self._changes[self._next] = (self._changes[self._next] + 1) % 256
        self._next = (self._next + 1) % CATEGORIES

    def enter(self, number: int) -> int:
        """Begin as a worker."""
        self._number = number
        random.seed(number)
        return _MAX_REQUESTS * (16 + number) // 16

    def render(self, category: int) -> bytes:
        """Bring a category's pages up to date: the same bytes in whichever worker; returns them."""
        change, at = self._changes[category], category * _CATEGORY_BYTES
        if self._rendered[category] != change:
            text = random.Random(category * 256 + change)
            for place in range(ITEMS // CATEGORIES):
                name = self._names[place * CATEGORIES + category]
                words = " ".join([*self.items[name]["tags"], *text.choices(_WORDS, k=240)])  # type: ignore[misc]
                page = f"<h1>{name}</h1><p>{words}".encode()[:_PAGE_BYTES].ljust(_PAGE_BYTES)
                self._pages[at + place * _PAGE_BYTES : at + (place + 1) * _PAGE_BYTES] = page
            self._rendered[category] = change
        return self._pages[at : at + _CATEGORY_BYTES]

    def _page(self, name: str) -> bytes:
        number = int(self.items[name]["number"])  # type: ignore[call-overload]
        place = number // CATEGORIES
        return self.render(number % CATEGORIES)[place * _PAGE_BYTES : (place + 1) * _PAGE_BYTES]

    def _record(self, name: str) -> None:
        # What this worker alone has.
        record = {
            "worker": self._number,
            "request": self._written,
            "item": name,
            "token": f"{random.getrandbits(512):x}",
        }
        at = self._written * _RECORD_BYTES % _JOURNAL_BYTES
        self._journal[at : at + _RECORD_BYTES] = json.dumps(record).encode()[:_RECORD_BYTES].ljust(_RECORD_BYTES)
        self._written += 1

    def answer(self, connection: socket.socket) -> None:
        """Answer one request in HTTP."""
        request = connection.recv(4096).split(b" ", 2)
        name = request[1].decode().rpartition("/")[2]
        body = self._cache.pop(name, None) or self._page(name)
        self._cache[name] = body
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        self._record(name)
        head = f"HTTP/1.0 {http.client.OK.value} OK\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    def between(self) -> None:
        """Have nothing to do."""


def main() -> None:
    """Serve at the socket named on the command line, until SIGTERM."""
    opt_in()  # before anything is forked: workers inherit it
    Controller(Site(), WORKERS, sys.argv[1]).run()


if __name__ == "__main__":
    main()
