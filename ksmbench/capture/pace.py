"""When a capture looks: at multiples of its interval, as far as it keeps up and its share of a CPU allows."""


class Pace:
    """Times are seconds since the first look, and CPU seconds of the capture since then.

    With `max_share`, looks are left out so that the capture's own CPU time stays below that share of one CPU: the next
    look comes when one that costs as much as the last, with all that followed it, still fits. `n_left_out` counts the
    looks whose time passed unused, `n_saved` those among them that were left out for the share's sake.
    """

    def __init__(self, interval_s: float, max_share: float | None = None) -> None:
        self.n_left_out = 0
        self.n_saved = 0
        self._interval_s = interval_s
        self._max_share = max_share
        self._last = 0  # number of the last look
        self._last_cpu_s = 0.0

    def due(self, now_s: float, cpu_s: float) -> float:
        """Return when the next look is due, seen from `now_s`."""
        return self._next(now_s, cpu_s) * self._interval_s

    def _next(self, now_s: float, cpu_s: float) -> int:
        # A look that is late leaves its successors where they were; those that have passed are left out.
        number = max(self._last + 1, int(now_s / self._interval_s))
        if self._max_share is None:
            return number
        fits_s = (cpu_s + (cpu_s - self._last_cpu_s)) / self._max_share
        return max(number, -int(-fits_s // self._interval_s))

    def looks_at(self, due_s: float, now_s: float, cpu_s: float) -> None:
        """Note that the look that was due then begins; `now_s` and `cpu_s` as they were when it was found due."""
        number = round(due_s / self._interval_s)
        in_time = max(self._last + 1, int(now_s / self._interval_s))
        self.n_saved += number - in_time
        self.n_left_out += number - self._last - 1
        self._last, self._last_cpu_s = number, cpu_s
