"""Which page has which frame, and what merged with what: the engine's after every batch against the kernel's.

Places are int64 [n, 4]: space, page, frame, whether the frame is KSM's; of the present anonymous pages, by space and
address. The frames' numbers say only which pages have one frame together. The engine's pages are not numbered but come
in the same order, so that with as many of them the k-th is the k-th.
"""

import re

import numpy as np
import numpy.typing as npt

from ksmbench.designs.ksm.state import ITEM_NODE, ITEM_STATE, STABLE
from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import ALIVE, BASE, BEFORE, END, FRAME, NODE, NOW, SPACE_MM, Machine
from ksmbench.engine.memory import ORDINARY, ZEROED

Places = npt.NDArray[np.int64]
_EVENT = re.compile(r"(ksm_merge_with_ksm_page|ksm_merge_one_page): (ksm )?pfn (\d+) .* error (-?\d+)")


class EnginePlaces:
    """Collects the engine's places as `look` of `ksmbench.engine.drive.Timing`.

    Two more columns than the kernel's: whether the page's item is on its frame's list, and whether it joined it since
    the last look. In the place of the page is the entry.
    """

    def __init__(self) -> None:
        self.places: dict[int, Places] = {}  # time_ns to rows
        self.zero_merges: dict[int, int] = {}  # time_ns to the batch's merges with the zero page
        self._before = np.zeros(0, np.int64)  # the node of every entry's item at the last look

    def look(self, machine: Machine) -> None:
        """Keep what the page tables and items are now."""
        frame, node = machine[FRAME], machine[NODE]
        on = np.where(machine[ITEM_STATE] & STABLE, machine[ITEM_NODE], -1)[: len(frame)]
        joined = on != (self._before if len(self._before) else -1)
        self._before = on
        parts = []
        for space, mm in enumerate(machine[SPACE_MM].tolist()):
            if not machine[ALIVE][mm]:
                continue
            entries = np.arange(machine[BASE][mm], machine[END][mm])
            f = frame[entries]
            kept = (f >= 0) & (node[np.maximum(f, 0)] != ZEROED)
            entries, f = entries[kept], f[kept]
            is_on = (on[entries] >= 0) & (on[entries] == node[f])
            columns = (np.full(len(f), space), entries, f, node[f] != ORDINARY, is_on, is_on & joined[entries])
            parts.append(np.column_stack(columns))
        rows = np.concatenate(parts) if parts else np.zeros((0, 6), np.int64)
        now = int(machine.m[NOW])
        self.places[now] = rows.astype(np.int64)
        zero_pages = Counter.KSM_ZERO_PAGES  # which a batch does not lower
        self.zero_merges[now] = int(machine.m[zero_pages] - machine[BEFORE][zero_pages])


def _by_first(frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # Numbers in the order of first occurrence.
    _, first, inverse = np.unique(frames, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def differing_place(ours: Places, theirs: Places, *, tells_ksm: bool = True) -> str | None:
    """In words, the first page that is not mapped as the kernel's; some kernels do not tell which frames are KSM's."""
    if len(ours) != len(theirs) or (ours[:, 0] != theirs[:, 0]).any():
        return f"{len(ours)} pages are present, the kernel's {len(theirs)}"
    of_other_kind = (ours[:, 3] != theirs[:, 3]) & tells_ksm
    wrong = np.flatnonzero((_by_first(ours[:, 2]) != _by_first(theirs[:, 2])) | of_other_kind)
    if not len(wrong):
        return None
    k = int(wrong[0])

    def told(places: Places) -> str:
        others = np.flatnonzero(places[:, 2] == places[k, 2])
        who = ", ".join(f"{theirs[i, 0]}:{theirs[i, 1]:#x}" for i in others[:4] if i != k)
        return ("KSM's frame" if places[k, 3] else "an ordinary frame") + (f" with {who}" if who else " alone")

    return f"page {theirs[k, 1]:#x} of space {theirs[k, 0]} has {told(ours)}, the kernel's has {told(theirs)}"


def _merges_seen(lines: str) -> dict[int, int]:
    # Merges with each frame. A pair that failed has made a merged frame of its first page and taken that back.
    events: dict[int, int] = {}
    upgraded = -1
    for name, is_ksm, frame, error in _EVENT.findall(lines):
        if name != "ksm_merge_with_ksm_page":
            continue
        number, done = int(frame), error == "0"
        if done or (is_ksm and number == upgraded):
            events[number] = events.get(number, 0) + (1 if done else -1)
        upgraded = number if done and not is_ksm else -1
    return events


def differing_zero_merge(lines: str, ours: int) -> str | None:
    """In words, how many merges with the zero page a batch's events tell, where that is not what the engine did."""
    events = sum(name == "ksm_merge_one_page" and error == "0" for name, _, _, error in _EVENT.findall(lines))
    return f"{events} merges with the zero page were seen, {ours} expected" if events != ours else None


def differing_merge(lines: str, ours: Places, theirs: Places) -> str | None:
    """In words, the first frame for which the kernel's events of a batch are not what the engine merged in it.

    Every item that joined a frame's list in the batch must have an event with the frame that its page has now; and no
    frame may have more events than items. (One that left and joined again looks to the engine as if it had not moved.)
    """
    events = _merges_seen(lines)
    joined: dict[int, int] = {}
    members: dict[int, int] = {}
    for (is_on, has_joined), frame in zip(ours[:, 4:].tolist(), theirs[:, 2].tolist(), strict=True):
        members[frame] = members.get(frame, 0) + is_on
        joined[frame] = joined.get(frame, 0) + has_joined
    for frame in sorted(events.keys() | joined.keys()):
        least, most, found = joined.get(frame, 0), members.get(frame, 0), events.get(frame, 0)
        if not least <= found <= most:
            return f"{found} merges with frame {frame:#x} were seen, {least} to {most} expected"
    return None
