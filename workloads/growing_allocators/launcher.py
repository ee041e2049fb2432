"""Starts the loaders one after the other and waits for them: two load one data set, two others another.

    python -m workloads.growing_allocators.launcher SECONDS

The third ends after half of the time; the others go on for longer than it, until SIGTERM.
"""

import os
import subprocess
import sys
import time

from workloads.ending import end_by_sigterm

_DATA_SETS = (1, 1, 2, 2)
_APART_S = 3.0
# Without it, glibc takes large blocks from the heap once one was freed.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072"}


def main() -> None:
    """Run all loaders to their ends."""
    end_by_sigterm()
    seconds = float(sys.argv[1])
    loaders: list[subprocess.Popen[bytes]] = []
    try:
        for number, data_set in enumerate(_DATA_SETS):
            stays = seconds / 2 if number == 2 else 2 * seconds
            words = [sys.executable, "-m", "workloads.growing_allocators.loader", str(data_set), str(stays)]
            loaders.append(subprocess.Popen(words, env={**os.environ, **_MALLOC}))
            time.sleep(_APART_S)
        for loader in loaders:
            loader.wait()
    finally:
        for loader in loaders:
            loader.terminate()
            loader.wait()


if __name__ == "__main__":
    main()
