"""A function: loads what it needs, works a little, waits for others as functions do, and ends.

python function.py NAME REQUEST SECONDS
"""

import hashlib
import json
import random
import re
import sqlite3
import sys
import time
import zlib


def orders(request: random.Random) -> int:
    """Put an order's lines into a table in memory and sum them up."""
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE line (item TEXT, price REAL)")
    lines = [(f"item {request.randrange(500)}", request.random()) for _ in range(2000)]
    base.executemany("INSERT INTO line VALUES (?, ?)", lines)
    return len(base.execute("SELECT item, sum(price) FROM line GROUP BY item").fetchall())


def thumbnail(request: random.Random) -> int:
    """Scale a picture down and compress it; the picture is one of a few."""
    picture = random.Random(request.randrange(8)).randbytes(1 << 20)
    return len(zlib.compress(picture[::4], 3))


def report(request: random.Random) -> int:
    """Read a configuration that all have, and fill a template."""
    names = random.Random(3)
    configuration = json.loads(json.dumps({f"key-{i}": [names.random() for _ in range(20)] for i in range(800)}))
    return len(re.sub(r"\d", "x", json.dumps(configuration))) + request.randrange(10)


def webhook(request: random.Random) -> int:
    """Sign a message."""
    message = json.dumps({"id": request.randrange(1 << 30), "lines": ["event"] * 3000}).encode()
    return hashlib.sha256(message).digest()[0]


def main() -> None:
    """Run one function for one request."""
    function = {"orders": orders, "thumbnail": thumbnail, "report": report, "webhook": webhook}[sys.argv[1]]
    result = function(random.Random(int(sys.argv[2])))
    time.sleep(float(sys.argv[3]))
    print(result)


if __name__ == "__main__":
    main()
