"""Recounts a machine's memory: what the engine keeps as events go by, against the entries themselves."""

from typing import Any

import numpy as np

from ksmbench.engine.counters import Counter
from ksmbench.engine.machine import (
    CONTENT,
    FLAGS,
    FRAME,
    FREE_TOP,
    MAPCOUNT,
    MERGEABLE_ENTRIES,
    NEXT_FRAME,
    NODE,
    ROWS,
    Machine,
)
from ksmbench.engine.memory import MERGEABLE, ORDINARY, ZEROED
from ksmbench.engine.rbtree import KEY


def check_memory(machine: Machine) -> list[str]:
    """Recount everything that is kept incrementally; sentences about what is wrong."""
    wrong: list[str] = []
    m = machine.m

    def expect(what: str, kept: Any, counted: Any) -> None:
        if not np.array_equal(kept, counted):
            wrong.append(f"{what}: kept {kept}, counted {counted}")

    frame, flags, key = machine[FRAME], machine[FLAGS], machine[ROWS][:, KEY]
    mapped = frame[frame >= 0]
    n = int(m[NEXT_FRAME])
    expect("mapcount", machine[MAPCOUNT][:n], np.bincount(mapped, minlength=n))
    zeroed = machine[NODE][mapped] == ZEROED
    expect("pages_anon", m[Counter.PAGES_ANON], np.count_nonzero(~zeroed))
    used = np.unique(mapped[~zeroed])
    expect("frames", m[Counter.FRAMES], len(used))
    expect("frames_ksm", m[Counter.FRAMES_KSM], np.count_nonzero(machine[NODE][used] != ORDINARY))
    billable = (frame >= 0) & (flags & MERGEABLE != 0)
    expect("key", key[billable], machine[CONTENT][frame[billable]])
    expect("key of others", np.count_nonzero(key[~billable] >= 0), 0)
    expect("mergeable entries", machine[MERGEABLE_ENTRIES].sum(), np.count_nonzero(flags & MERGEABLE))
    expect("free frames", len(used) + len(np.unique(mapped[zeroed])) + int(m[FREE_TOP]), n)
    return wrong
