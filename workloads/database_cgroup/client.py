"""A client: reads and writes records, unequally often, and keeps a cache of what it read as objects.

python -m workloads.database_cgroup.client SCRATCH RECORDS NUMBER
"""

import json
import random
import socket
import sys
import time
from collections import OrderedDict
from typing import Any

_AT_ONCE = 20  # commands that are sent together
_PAUSE_S = 0.2
_WRITES = 0.2
_CACHED = 4_000
_WORDS = [f"{a}{b}{i}" for i in range(12) for a in ("bal", "cor", "din", "fer", "gul") for b in ("ta", "no", "mi")]


def record(key: int, version: int) -> str:
    """What is stored under a key: names of fields repeat, what is in them does not."""
    choice = random.Random(key * 1000 + version)
    fields = {"user": choice.getrandbits(40), "version": version, "tags": choice.sample(_WORDS, 5)}
    return json.dumps({**fields, "note": " ".join(choice.choices(_WORDS, k=choice.randrange(10, 120)))})


class Redis:
    """A connection that sends commands in pieces."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._answers = self._socket.makefile("rb")

    def do(self, commands: list[tuple[str, ...]]) -> list[bytes]:
        """Send commands and return their answers."""
        packed = [
            b"*%d\r\n" % len(command)
            + b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in command)
            for command in commands
        ]
        self._socket.sendall(b"".join(packed))
        return [self._answer() for _ in commands]

    def close(self) -> None:
        """Close the connection."""
        self._answers.close()
        self._socket.close()

    def _answer(self) -> bytes:
        line = self._answers.readline()
        if not line:
            raise ConnectionError("the server has ended")
        if line[:1] == b"$" and line[1:2] != b"-":
            return self._answers.read(int(line[1:]) + 2)[:-2]
        return line[1:-2]


def main() -> None:
    """Read and write until SIGTERM."""
    scratch, n_records, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    redis, choice = Redis(f"{scratch}/redis.sock"), random.Random(number)
    cache: OrderedDict[int, Any] = OrderedDict()
    version = 0
    while True:
        keys = [int(n_records * choice.random() ** 3) for _ in range(_AT_ONCE)]
        writes = [key for key in keys if choice.random() < _WRITES]
        version += 1
        redis.do([("SET", f"session:{key}", record(key, version)) for key in writes])
        for key, answer in zip(keys, redis.do([("GET", f"session:{key}") for key in keys]), strict=True):
            cache[key] = json.loads(answer)
            cache.move_to_end(key)
        while len(cache) > _CACHED:
            cache.popitem(last=False)
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main()
