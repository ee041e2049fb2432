"""What is asked of a running capture from outside: to end, or to look at once."""

import os
import select
import weakref


class Requests:
    """Requests wait until they are taken. Every method may be called from a signal handler or another thread."""

    def __init__(self) -> None:
        # Counters of the kernel: nothing here holds a lock that a signal handler could wait for.
        self._end = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._looks = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        for descriptor in (self._end, self._looks):
            weakref.finalize(self, os.close, descriptor)

    def end(self) -> None:
        """Ask for the capture's end."""
        os.eventfd_write(self._end, 1)

    def look(self) -> None:
        """Ask for a look at once."""
        os.eventfd_write(self._looks, 1)

    @property
    def ending(self) -> bool:
        """Whether the end was asked for."""
        return _readable(0.0, self._end)

    def take_looks(self) -> bool:
        """Return whether a look was asked for since the last call."""
        try:
            return os.eventfd_read(self._looks) > 0
        except BlockingIOError:
            return False

    def wait(self, seconds: float) -> None:
        """Wait until something is asked, for at most so long."""
        _readable(seconds, self._end, self._looks)


def _readable(seconds: float, *descriptors: int) -> bool:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1e3))
