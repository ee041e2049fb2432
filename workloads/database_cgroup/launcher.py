"""Joins a control group, opts in for all that it starts, fills the database, starts the clients, and waits for SIGTERM.

python -m workloads.database_cgroup.launcher GROUP SCRATCH RECORDS CLIENTS SERVER...

It says "ready" when the server is full and every client runs.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from workloads.database_cgroup.client import Redis, record
from workloads.ending import end_by_sigterm
from workloads.mergeable import opt_in

_SAVE_S = 20.0
_PIECE = 500


def _server(words: list[str], scratch: Path) -> "subprocess.Popen[bytes]":
    path = scratch / "redis.sock"
    settings = ["--port", "0", "--unixsocket", str(path), "--dir", str(scratch), "--save", "", "--appendonly", "no"]
    words = [*words, *settings, "--loglevel", "warning"]
    process = subprocess.Popen(words, stdout=sys.stderr, start_new_session=True)  # redis hears Ctrl-C, ignored or not
    deadline = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def main() -> None:
    """Run until told to end; then everything ends."""
    group, scratch, n_records, n_clients, *words = sys.argv[1:]
    end_by_sigterm()
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    opt_in()
    started = [_server(words, Path(scratch))]
    try:
        redis = Redis(f"{scratch}/redis.sock")
        for first in range(0, int(n_records), _PIECE):
            redis.do([("SET", f"session:{key}", record(key, 0)) for key in range(first, first + _PIECE)])
        for number in range(int(n_clients)):
            client = ["python", "-m", "workloads.database_cgroup.client", scratch, n_records, str(number)]
            started.append(subprocess.Popen(client))
        print("ready", flush=True)
        while True:
            time.sleep(_SAVE_S)
            redis.do([("BGSAVE",)])  # a child writes the database as it is now to disk, while the server goes on
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
        (Path(group).parent / "cgroup.procs").write_text(str(os.getpid()))  # so that the group can be removed


if __name__ == "__main__":
    main()
