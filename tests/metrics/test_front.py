"""The front of saved memory against CPU time, against its definition."""

import numpy as np

from ksmbench.metrics.front import front


def test_by_hand() -> None:
    pairs = [(10, 1.0), (20, 2.0), (20, 3.0), (15, 2.0), (20, 2.0), (0, 0.0), (None, 0.1), (5, None), (30, 9.0)]
    assert front(pairs) == [True, True, False, False, True, False, False, False, True]
    assert front([]) == []


def test_against_the_definition() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        pairs = [(float(saved), float(cpu)) for saved, cpu in rng.integers(1, 8, (12, 2))]
        beaten = [
            any(
                (other[0] >= one[0] and other[1] < one[1]) or (other[0] > one[0] and other[1] <= one[1])
                for other in pairs
            )
            for one in pairs
        ]
        assert front(pairs) == [not is_beaten for is_beaten in beaten]
