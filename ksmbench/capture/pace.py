"""When a capture looks: at multiples of its interval, as far as it keeps up."""


class Pace:
    """Times are seconds since the first look. `n_left_out` counts the looks whose time passed unused."""

    def __init__(self, interval_s: float) -> None:
        self.n_left_out = 0
        self._interval_s = interval_s
        self._last = 0  # number of the last look

    def due(self, now_s: float) -> float:
        """Return when the next look is due, seen from `now_s`."""
        # A look that is late leaves its successors where they were; those that have passed are left out.
        return max(self._last + 1, int(now_s / self._interval_s)) * self._interval_s

    def looks_at(self, due_s: float) -> None:
        """Note that the look that was due then begins."""
        number = round(due_s / self._interval_s)
        self.n_left_out += number - self._last - 1
        self._last = number
