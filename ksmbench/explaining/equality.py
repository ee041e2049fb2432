"""How many pages of each mapping equal another, near or far, and what merging them would save."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ksmbench.explaining.area import Held

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Equality:
    """Pages of each area, int64 [n_areas]; every page that holds a frame is in exactly one of the first five."""

    zero: Numbers  # full of zeros
    in_mapping: Numbers  # equal to another page of the area
    in_space: Numbers  # to none there, but to one of the same address space
    elsewhere: Numbers  # only to pages of other address spaces
    alone: Numbers  # to none
    shared: Numbers  # of all of them: map a frame that another page maps too, so that it is saved already
    is_alone: npt.NDArray[np.bool_]  # of each page


def _occurrences(group: Numbers, rank: Numbers, n_contents: int) -> Numbers:
    # How many pages of its group hold the content that each page holds.
    _, inverse, count = np.unique(group * n_contents + rank, return_inverse=True, return_counts=True)
    result: Numbers = count[inverse]
    return result


def find_equal(held: Held, space_of: Numbers, n_contents: int) -> Equality:
    """Count; `space_of` (int64 [n_areas]) is the address space of each area."""
    n_areas = len(space_of)
    is_zero = held.rank == 0
    near = _occurrences(held.area, held.rank, n_contents) > 1
    own = _occurrences(space_of[held.area], held.rank, n_contents) > 1
    everywhere = np.bincount(held.rank, minlength=n_contents)[held.rank] > 1
    mapped = np.bincount(held.frame)[held.frame] > 1 if len(held.frame) else np.zeros(0, np.bool_)
    alone = ~is_zero & ~everywhere

    def per_area(which: npt.NDArray[np.bool_]) -> Numbers:
        return np.bincount(held.area[which], minlength=n_areas).astype(np.int64)

    return Equality(
        per_area(is_zero),
        per_area(~is_zero & near),
        per_area(~is_zero & own & ~near),
        per_area(~is_zero & everywhere & ~own),
        per_area(alone),
        per_area(mapped),
        alone,
    )


def saved_frames(held: Held, which: npt.NDArray[np.bool_], n_areas: int) -> npt.NDArray[np.float64]:
    """Return each area's part of the frames that merging the pages `which` would save, float64 [n_areas].

    Every content that is not zero keeps one frame, zero pages keep none. Who holds k of the n frames of a content is
    credited with k / n of what that saves, so that the parts add up; a frame that several pages map counts in parts.
    """
    frame, first, inverse, n_maps = np.unique(
        held.frame[which], return_index=True, return_inverse=True, return_counts=True
    )
    if not len(frame):
        return np.zeros(n_areas)
    content = held.rank[which][first]
    n_frames = np.bincount(content)[content]
    part = np.where(content == 0, 1.0, (n_frames - 1) / n_frames) / n_maps
    result: npt.NDArray[np.float64] = np.bincount(held.area[which], part[inverse], minlength=n_areas).astype(np.float64)
    return result
