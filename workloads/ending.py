"""How programs that a capture starts and ends are ended."""

import signal
import sys


def end_by_sigterm() -> None:
    """Let SIGTERM end this program in order, and leave Ctrl-C to the capture, which sends SIGTERM then.

    Call it before children are started: that a signal is ignored is inherited through fork and exec.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
