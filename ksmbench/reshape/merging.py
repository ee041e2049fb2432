"""One order for the contents of several traces that know each only their own.

With the bytes the order is memcmp's, as in a capture. With fingerprints under one key it is known which contents are
equal, and how those of one trace stand to each other; how the others stand is made up, consistently with what is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.errors import UsageError
from ksmbench.jit import Integer, kernel
from ksmbench.trace.columns import Contents, Trace
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import FINGERPRINT_BYTES
from ksmbench.trace.tables import read_pages

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Merged:
    """`ids`: the content that each of a trace's becomes, for every trace; `contents`: the table of all."""

    ids: list[Numbers]
    contents: Contents
    fingerprint: npt.NDArray[np.uint8] | None


def add_pages(store: ContentStore, trace: Trace) -> Numbers:
    """Put the contents of a trace that holds them into `store`; returns their provisional numbers."""
    assert trace.path is not None
    pieces = [store.add(piece) for piece in read_pages(trace.path, trace.page_size)]
    return np.concatenate(pieces)


def by_bytes(traces: Sequence[Trace], provisional: Sequence[Numbers], store: ContentStore) -> Merged:
    """The contents in the order of their bytes."""
    ranking = store.rank()
    ids = [ranking.rank[numbers] for numbers in provisional]
    return Merged(ids, ranking.contents, _fingerprints(traces, ids, len(store)) if one_key(traces) else None)


def _fingerprints(traces: Sequence[Trace], ids: Sequence[Numbers], n: int) -> npt.NDArray[np.uint8]:
    result = np.zeros((n, FINGERPRINT_BYTES), np.uint8)
    for trace, numbers in zip(traces, ids, strict=True):
        assert trace.fingerprint is not None
        result[numbers] = trace.fingerprint
    return result


def one_key(traces: Sequence[Trace]) -> bool:
    """Whether all have fingerprints, of one key: content 0 is the same page everywhere, and so is its fingerprint."""
    if any(trace.fingerprint is None for trace in traces):
        return False
    zeroes = {trace.fingerprint[0].tobytes() for trace in traces if trace.fingerprint is not None}
    return len(zeroes) == 1 and any(zeroes.pop())


def _numbered(traces: Sequence[Trace], *, only_zeroes: bool) -> tuple[list[Numbers], int]:
    # A number for every distinct content, not in order; 0 is the zero page.
    if only_zeroes:
        ids, n = [], 1
        for trace in traces:
            ids.append(np.append(0, np.arange(n, n + len(trace.contents.lcp) - 1)))
            n += len(trace.contents.lcp) - 1
        return ids, n
    known: dict[bytes, int] = {}
    ids, n = [], 0
    for trace in traces:
        assert trace.fingerprint is not None
        numbers = np.empty(len(trace.fingerprint), np.int64)
        for row, key in enumerate(map(bytes, trace.fingerprint)):
            number = known.get(key) if any(key) else None  # zeros stand for none: equal to nothing
            if number is None:
                number = n
                n += 1
                if any(key):
                    known[key] = number
            numbers[row] = number
        if len(np.unique(numbers)) < len(numbers):
            raise UsageError(
                f"{trace.path or 'a trace'}: two of its contents have one fingerprint, so it tells nothing of equality"
            )
        ids.append(numbers)
    return ids, n


@kernel
def _order(chains: Any, ends: Any, heads: Any, lcp: Any, needed: Any, waiting: Any, order: Any) -> Integer:
    # Puts out, again and again, a content that is the next of every trace that has it: of those the one that has most
    # in common with the content before it in its own trace, so that what belongs together stays so. Writes heads,
    # waiting and order; returns how many came out.
    n_chains = len(ends)
    for c in range(n_chains):
        if heads[c] < ends[c]:
            waiting[chains[heads[c]]] += 1
    done = 0
    while done < len(order):
        best, most = -1, -1
        for c in range(n_chains):
            if heads[c] < ends[c]:
                content = chains[heads[c]]
                if waiting[content] == needed[content] and int(lcp[heads[c]]) > most:
                    best, most = content, int(lcp[heads[c]])
        if best < 0:
            return done
        order[done] = best
        done += 1
        for c in range(n_chains):
            if heads[c] < ends[c] and chains[heads[c]] == best:
                heads[c] += 1
                if heads[c] < ends[c]:
                    waiting[chains[heads[c]]] += 1
    return done


def _in_order(ids: list[Numbers], n: int, traces: Sequence[Trace]) -> list[Numbers]:
    # The same contents, numbered in an order that no trace contradicts.
    lengths = [len(numbers) for numbers in ids]
    ends = np.cumsum(lengths)
    heads = ends - lengths
    chains = np.concatenate(ids)
    order = np.empty(n, np.int64)
    lcp = np.concatenate([trace.contents.lcp for trace in traces])
    needed = np.bincount(chains, minlength=n)
    done = _order(chains, ends, heads, lcp, needed, np.zeros(n, np.int64), order)
    if done < n:
        raise UsageError(
            "the traces contradict each other about the order of contents that their fingerprints call equal; "
            "were they made with one key?"
        )
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    return [rank[numbers] for numbers in ids]


def _prefixes(ids: list[Numbers], n: int, traces: Sequence[Trace]) -> npt.NDArray[np.uint16]:
    # What stands between two neighbours of a trace has at least as much in common as they have.
    lcp = np.zeros(n, np.uint16)
    for numbers, trace in zip(ids, traces, strict=True):
        stretched = np.repeat(trace.contents.lcp[1:], np.diff(numbers))
        part = lcp[numbers[0] + 1 : numbers[-1] + 1]
        np.maximum(part, stretched, out=part)
    return lcp


def _checksums(ids: list[Numbers], n: int, traces: Sequence[Trace]) -> npt.NDArray[np.uint32]:
    # One label where a trace says that two are equal, directly or through a content that several traces have.
    label = np.arange(n)
    while True:
        before = label.copy()
        for numbers, trace in zip(ids, traces, strict=True):
            _, group = np.unique(trace.contents.checksum, return_inverse=True)
            least = np.full(int(group.max()) + 1, n)
            np.minimum.at(least, group, label[numbers])
            label[numbers] = least[group]
        if np.array_equal(before, label):
            return label.astype(np.uint32)


def by_equality(traces: Sequence[Trace], *, only_zeroes: bool) -> Merged:
    """The contents in an order that every trace agrees with; equal are those of one fingerprint, or zero pages alone.

    Raises `UsageError` where the traces contradict each other.
    """
    ids, n = _numbered(traces, only_zeroes=only_zeroes)
    ids = _in_order(ids, n, traces)
    contents = Contents(_prefixes(ids, n, traces), _checksums(ids, n, traces))
    return Merged(ids, contents, None if only_zeroes else _fingerprints(traces, ids, n))
