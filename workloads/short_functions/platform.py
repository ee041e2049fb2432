"""The platform: starts a function at random moments, so many a second on average, until SIGTERM.

python -m workloads.short_functions.platform RATE

It opts in by prctl once; what it starts inherits that through fork and exec.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

from workloads.ending import end_by_sigterm
from workloads.mergeable import opt_in

FUNCTIONS = ("orders", "thumbnail", "report", "webhook")
_AT_ONCE = 24
_SHELL = "set -- $(sort /etc/passwd | tail -n 3); sleep {pause}; echo $1"


def _start(number: int, choice: random.Random) -> "subprocess.Popen[bytes]":
    if choice.random() < 0.2:  # a shell script
        words = ["sh", "-c", _SHELL.format(pause=round(choice.uniform(0.1, 2.0), 2))]
    else:
        path = str(Path(__file__).with_name("function.py"))
        words = [sys.executable, "-I", path, choice.choice(FUNCTIONS), str(number), f"{choice.uniform(0.1, 2.5):.2f}"]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> None:
    """Start functions until told to end, then end those that run."""
    rate = float(sys.argv[1])
    end_by_sigterm()
    opt_in()
    choice = random.Random(5)
    running: list[subprocess.Popen[bytes]] = []
    number, due = 0, time.monotonic()
    try:
        while True:
            due += choice.expovariate(rate)
            time.sleep(max(0.0, due - time.monotonic()))
            running = [function for function in running if function.poll() is None]
            if len(running) < _AT_ONCE:
                number += 1
                running.append(_start(number, choice))
    finally:
        for function in running:
            function.terminate()
            function.wait()


if __name__ == "__main__":
    main()
