"""The front of saved memory against CPU time: what is not beaten in both by anything else."""

from collections.abc import Sequence

Pair = tuple[float | None, float | None]


def front(pairs: Sequence[Pair]) -> list[bool]:
    """For each (saved memory, CPU time): does no other save as much for less, or more for as much?

    Equal pairs are on the front together; one with a missing number, or that saves nothing, is not on it.
    """
    chosen = [False] * len(pairs)
    known = [
        (cpu, -saved, i) for i, (saved, cpu) in enumerate(pairs) if saved is not None and cpu is not None and saved > 0
    ]
    best: tuple[float, float] | None = None  # of the front so far: the lowest -saved, and its CPU time
    for cpu, minus_saved, i in sorted(known):
        if best is None or minus_saved < best[0] or (minus_saved, cpu) == best:
            chosen[i] = True
            best = minus_saved, cpu
    return chosen
