"""The checksum that KSM computes of a page: the low half of XXH64 with seed 0, in compiled code.

XXH64 is computed over whole pages only, so lengths are multiples of 32 bytes and its tail rules never apply.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.jit import Integer, kernel

_P1 = np.uint64(11400714785074694791)
_P2 = np.uint64(14029467366897019727)
_P3 = np.uint64(1609587929392839161)
_P4 = np.uint64(9650029242287828579)
_START_1 = np.uint64(6983438078262162902)  # P1 + P2 modulo 2^64
_START_4 = np.uint64(7046029288634856825)  # -P1 modulo 2^64
_ZERO = np.uint64(0)
_MASK = np.uint64(0xFFFFFFFF)
_29, _31, _32, _33 = np.uint64(29), np.uint64(31), np.uint64(32), np.uint64(33)
_7, _12, _18, _27 = np.uint64(7), np.uint64(12), np.uint64(18), np.uint64(27)
_37, _46, _52, _57 = np.uint64(37), np.uint64(46), np.uint64(52), np.uint64(57)


@kernel
def _round(lane: Any, word: Any) -> Any:
    lane = lane + word * _P2
    return ((lane << _31) | (lane >> _33)) * _P1


@kernel
def _fold(digest: Any, lane: Any) -> Any:
    return (digest ^ _round(_ZERO, lane)) * _P1 + _P4


@kernel
def xxh64(words: Any, start: Integer, n_words: Integer) -> Any:
    """Return XXH64, seed 0, of the `n_words` (a multiple of 4) little-endian words from `start` on, as uint64."""
    one, two, three, four = _START_1, _P2, _ZERO, _START_4
    for i in range(start, start + n_words, 4):
        one = _round(one, words[i])
        two = _round(two, words[i + 1])
        three = _round(three, words[i + 2])
        four = _round(four, words[i + 3])
    digest = ((one << np.uint64(1)) | (one >> np.uint64(63))) + ((two << _7) | (two >> _57))
    digest = digest + ((three << _12) | (three >> _52)) + ((four << _18) | (four >> _46))
    digest = _fold(_fold(_fold(_fold(digest, one), two), three), four)
    digest = digest + np.uint64(8 * n_words)
    digest = (digest ^ (digest >> _33)) * _P2
    digest = (digest ^ (digest >> _29)) * _P3
    return digest ^ (digest >> _32)


@kernel
def _checksums(words: Any, n_words: Integer, result: Any) -> None:
    for i in range(len(result)):
        result[i] = xxh64(words, i * n_words, n_words) & _MASK


def as_words(pages: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return uint8 [n, page_size] as flat, aligned, read-only uint64 words, without a copy where that is possible."""
    words = np.ascontiguousarray(pages).reshape(-1).view(np.uint64)
    if not words.flags.aligned:
        words = words.copy()
    words = words.view()
    words.setflags(write=False)  # numba types read-only arrays apart: all are, so that kernels are compiled once
    return words


def checksums(pages: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return the checksum of each page of uint8 [n, page_size]; page_size is a multiple of 32."""
    result = np.zeros(len(pages), np.uint32)
    _checksums(as_words(pages), pages.shape[1] // 8, result)
    return result
