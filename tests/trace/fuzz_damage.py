"""Damages a trace at random and opens it, over and over; run by `test_broken.py` in a process of its own.

Usage: fuzz_damage.py FOLDER FIRST_SEED LAST_SEED. Only a `TraceError` of one line may be raised; a crash ends the
process.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from ksmbench.errors import TraceError
from ksmbench.trace.describe import describe
from ksmbench.trace.show import show
from ksmbench.trace.store import open_trace
from tests.trace.foreign import Tables, foreign_tables, write_foreign

OPTIONS = (
    {"compression": "none"},
    {"compression": "snappy", "write_page_checksum": True},
    {"compression": "zstd", "use_dictionary": False},
    {"compression": "gzip", "data_page_version": "2.0", "row_group_size": 100},
    {"compression": "none", "use_dictionary": False, "column_encoding": {"time_ns": "DELTA_BINARY_PACKED"}},
    {"compression": "lz4", "data_page_size": 64, "write_statistics": False, "store_schema": False},
)


def longer_tables() -> Tables:
    """The small trace with a few hundred writes after its first map, so that there are data pages to hit."""
    tables = foreign_tables()
    n = 400
    order = pa.array([0, 1, *[2] * n, *range(3, 12)])
    tables["events"] = {name: array.take(order) for name, array in tables["events"].items()}
    pages = tables["events"]["page"].to_pylist()
    pages[2 : 2 + n] = [1024 + i * 7 % 900 for i in range(n)]
    tables["events"]["page"] = pa.array(pages, pa.uint64())
    tables["events"]["kind"] = tables["events"]["kind"].cast(pa.string())
    return tables


def damage(rng: np.random.Generator, whole: bytes) -> bytes:
    """Change a few bits or bytes, cut a piece out, or double one."""
    data = bytearray(whole)
    how = rng.integers(0, 6)
    if how < 4:
        for place in rng.integers(0, len(data), int(rng.integers(1, 5))):
            data[place] = data[place] ^ (1 << int(rng.integers(0, 8))) if how < 2 else int(rng.integers(0, 256))
    else:
        start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 40))
        piece = bytes(data[start : start + length])
        data[start : start + length] = b"" if how == 4 else piece + piece
    return bytes(data)


def main() -> None:
    """Damage one file per seed; print how many were refused."""
    root, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    traces = []
    for number, options in enumerate(OPTIONS):
        tables = longer_tables()
        trace = root / f"t{number}"
        known = {"column_encoding"} if "column_encoding" in options else set()
        plain = {name: value for name, value in options.items() if name not in known}
        write_foreign(trace, {"spaces": tables["spaces"], "contents": tables["contents"]}, **plain)
        write_foreign(root / "events", {"events": tables["events"]}, **options)
        shutil.move(root / "events" / "events.parquet", trace)
        shutil.rmtree(root / "events")
        show(describe(open_trace(trace)))
        traces.append(trace)
    refused = 0
    for seed in range(first, last):
        rng = np.random.default_rng(seed)
        trace = traces[seed % len(traces)]
        path = trace / str(rng.choice(["events.parquet", "events.parquet", "spaces.parquet", "contents.parquet"]))
        whole = path.read_bytes()
        path.write_bytes(damage(rng, whole))
        print("seed", seed, file=sys.stderr, flush=True)
        try:
            show(describe(open_trace(trace, max_memory=1 << 30), max_memory=1 << 30))
        except TraceError as error:
            if "\n" in str(error) or ".parquet" not in str(error):
                raise SystemExit(f"seed {seed}: {error}") from None
            refused += 1
        path.write_bytes(whole)
    print(refused)


main()
