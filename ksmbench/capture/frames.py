"""The frames that a replay of a capture has so far, and how many pages of all its spaces map each.

They are not the kernel's: a frame here is what the events recorded so far make, so that a capture knows what of the
sharing that it sees a replay has already.
"""

import numpy as np
import numpy.typing as npt

NO_FRAME = -1


class Frames:
    """Frames are numbers from 0 on, which are not used again: four bytes each for as long as the capture runs."""

    def __init__(self) -> None:
        self._n = 0
        self._mapcount = np.zeros(1 << 12, np.int32)

    def new(self, n: int) -> npt.NDArray[np.int64]:
        """Return `n` frames, each mapped once."""
        first, self._n = self._n, self._n + n
        if self._n > len(self._mapcount):
            more = np.zeros(max(n, len(self._mapcount)), np.int32)
            self._mapcount = np.concatenate([self._mapcount, more])
        self._mapcount[first : self._n] = 1
        return np.arange(first, self._n)

    def hold(self, frames: npt.NDArray[np.int64]) -> None:
        """Map each of the frames (int64 [n], each at most once; `NO_FRAME` is none) once more."""
        self._mapcount[frames[frames != NO_FRAME]] += 1

    def drop(self, frames: npt.NDArray[np.int64]) -> None:
        """Map each of the frames once less."""
        self._mapcount[frames[frames != NO_FRAME]] -= 1

    def shared(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of the frames more than one page maps."""
        result: npt.NDArray[np.bool_] = (frames != NO_FRAME) & (self._mapcount[frames] > 1)
        return result
