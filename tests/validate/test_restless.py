"""Frames that move between NUMA nodes, in a guest: as in the engine, but where the kernel cannot reach every entry."""

from ksmbench.validate.kernels import KernelFiles
from tests.validate.restless import play


def test_what_moves_agrees_and_what_cannot_is_known(kernel: KernelFiles) -> None:
    verdict, wrong = play(kernel, range(10, 13))
    assert wrong == []
    assert verdict.differences == []
    assert list(verdict.unplayed) == ["restless 11"]
    assert verdict.traces == 2
