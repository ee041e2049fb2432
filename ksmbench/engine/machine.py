"""The state of a replay as compiled code sees it: one int64 vector `m`.

It begins with the counters, goes on with scalars, and ends with the places of the columns: address and length of one
array each. A kernel takes `m` and numbers, and asks for the columns it needs: `frame = i32(m, FRAME)`. Passing named
tuples of arrays to every function instead was measured at 60 s of compiling and three times the time per page: numba
passes each array as seven values. Columns (`ksmbench.engine.columns`) carry their lengths, so bounds checks work.
`Machine` owns the arrays and keeps them alive.
"""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.engine.columns import Integers, column_reader
from ksmbench.engine.counters import N_COUNTERS
from ksmbench.jit import numba_config

Vector = Any  # int64 [N_VECTOR]: counters, scalars, places of columns

# Scalars: rows of the vector, after the counters.
FREE_TOP = N_COUNTERS + 0  # frames on the stack of free ones
NEXT_FRAME = N_COUNTERS + 1  # first frame never used
NEXT_FOLIO = N_COUNTERS + 2  # first huge frame never used
DISTINCT = N_COUNTERS + 3  # contents of mergeable memory, see memory.count_frame
PLAIN_FRAMES = N_COUNTERS + 4  # frames that other memory maps
MIXED_CONTENTS = N_COUNTERS + 5  # contents of frames that both map
SHARED_CONTENTS = N_COUNTERS + 6  # contents that several mergeable entries hold
NOW = N_COUNTERS + 7  # virtual time, ns
PHASE = N_COUNTERS + 8  # what ksmd does, see clock
DUE = N_COUNTERS + 9  # when that ends, ns
SLEPT_NS = N_COUNTERS + 10  # how long ksmd meant to sleep when it lay down
EVENT = N_COUNTERS + 11  # the next event
NEXT_SAMPLE = N_COUNTERS + 12  # time of the next sample, ns
SAMPLE = N_COUNTERS + 13  # its number
UNTIL = N_COUNTERS + 14  # end of the replay, ns
PERIOD = N_COUNTERS + 15  # ns between samples, 0: none by time
LISTED = N_COUNTERS + 16  # 1: samples at the times of LISTED_TIMES
JIFFY_NS = N_COUNTERS + 17  # 0: sleeps are exact
SAMPLES = N_COUNTERS + 18  # rows in SAMPLE_ROWS
SPACE_SAMPLES = N_COUNTERS + 19  # rows in SPACE_ROWS
EVERY_BATCH = N_COUNTERS + 20  # 1: a sample after every batch
SETTLING = N_COUNTERS + 21  # 1: end once the counters stay as they are
SETTLED_SCANS = N_COUNTERS + 22  # full scans seen so far
SETTLED_SAME = N_COUNTERS + 23  # of them, how many in a row ended alike
IGNORE_TUNE = N_COUNTERS + 24  # 1: leave out the trace's tune events
REFUSED = N_COUNTERS + 25  # tune events that the kernel would refuse or does not know
PAGE_SIZE = N_COUNTERS + 26  # bytes
# what older kernels' memory does; 0 is the newest's
REUSES_IN_PLACE = N_COUNTERS + 27  # 1: a write to a merged frame that nothing else maps makes no copy
SPLIT_KEEPS_ZEROES = N_COUNTERS + 28  # 1: zero-filled parts of a split huge frame stay frames
NO_HUGE = N_COUNTERS + 29  # 1: no huge frames, small ones in their place
ZERO_UNTOLD = N_COUNTERS + 30  # 1: the zero page that a merge maps is like any other
MOVE_KEEPS_MERGED = N_COUNTERS + 31  # 1: mremap carries merged frames along
UNMERGE_KEEPS_MERGED = N_COUNTERS + 32  # 1: MADV_UNMERGEABLE unshares nothing
# what a design's record says besides the counters
PEAK_FRAMES = N_COUNTERS + 33  # the most frames that were in use at one moment
LONGEST_DELAY_NS = N_COUNTERS + 34  # from an exit until the memory was free
COPIES_AT_EXIT = N_COUNTERS + 35  # frames copied as the sharing of exited processes was broken
COPIES_AT_STOP = N_COUNTERS + 36  # the same as a store to run broke it
NEXT_LOOK = N_COUNTERS + 37  # when the loop stops for who turns the settings, ns
SHOWN = N_COUNTERS + 38  # and two more: the scalars of the settings that samples show (turning.SHOWN_SETTINGS)
DESIGN_SCALARS = N_COUNTERS + 41  # a design's own begin here
N_SCALARS = DESIGN_SCALARS + 64

# Columns, by number.
# page-table entries
ROWS = 0  # int32 [n_entries, 4] tree row; its key is the content that is billable here, else -1
FRAME = 1  # int32 [n_entries] frame mapped, or ABSENT, KSM_ZERO (memory)
FLAGS = 2  # uint8 [n_entries] MAPPED | MERGEABLE | ... (memory)
# frames
CONTENT = 3  # int32 [n_frames] content id
MAPCOUNT = 4  # int32 [n_frames] entries that map it
NODE = 5  # int32 [n_frames] stable node, or ORDINARY, KSM_WITHOUT_NODE, ZEROED (memory)
FOLIO = 6  # int32 [n_frames] huge frame that it is part of, or NO_FOLIO
NUMA = 7  # uint8 [n_frames]
FREE = 8  # int32 [n_frames] stack of free frames
FOLIO_FRAMES = 9  # int32 [n_folios * FOLIO_PAGES]
NODE_ROWS = 10  # int32 [n_nodes, 4] tree rows of the design's stable nodes; key STALE once the frame is gone
# mms
BASE = 11  # int64 [n_mms] first entry
END = 12  # int64 [n_mms] one past the last entry
SPACE = 13  # int32 [n_mms] row of the trace's spaces
ASKS = 14  # uint8 [n_mms] 1: every eligible mapping of it asks to be merged
BY_PRCTL, AS_IF = 1, 2
ALIVE = 15  # uint8 [n_mms] mm_users above 0
MERGE_ANY = 16  # uint8 [n_mms] BY_PRCTL: MMF_VM_MERGE_ANY; AS_IF: the mm asks, see ASKS; else 0
MERGEABLE_ENTRIES = 17  # int64 [n_mms]
ZERO_PAGES = 18  # int64 [n_mms] ksm_zero_pages
SPACE_MM = 19  # int64 [n_spaces] the mm that a space has now
# the trace
TIME_NS = 20  # int64 [n_events]
KIND = 21  # uint8 [n_events]
ACTOR = 22  # int32 [n_events] the mm that acts
FIRST = 23  # int64 [n_events] entries FIRST .. LAST - 1 are the range
LAST = 24  # int64 [n_events]
TARGET_FIRST = 25  # int64 [n_events] the same of a move's target
TARGET_LAST = 26  # int64 [n_events]
VALUE = 27  # int64 [n_events] as in the trace; for fork, exec and share the other mm
ALLOCATE_ON = 28  # uint8 [n_events] NUMA node
NAME = 29  # int32 [n_events] row of the trace's names, -1 for none
PAGE = 30  # int64 [n_events]
PAIR_FIRST = 31  # int64 [n_events + 1] rows of PAIRS
PAIRS = 32  # int64 [n * 3] entry here, entry there, count; see Universe
GAP_FIRST = 33  # int64 [n_events + 1] rows of GAPS
GAPS = 34  # int64 [n * 3] entry before, entry there, count; see Universe
CHECKSUM = 35  # uint32 [n_contents]
LCP = 36  # uint16 [n_contents] and the tables of lcp
LCP_MASK = 37  # uint32 [n_contents]
LCP_BLOCKS = 38  # uint16
LCP_LOG2 = 39  # uint8
LCP_NEAR = 40  # int32
# what `oracle` counts; no rows elsewhere
REFS = 41  # int32 [n_contents] mergeable entries that hold it
MIXED = 42  # int32 [n_contents] frames of it that both kinds of entries map
PLAIN = 43  # int32 [n_frames] entries outside mergeable mappings
# the replay
LISTED_TIMES = 44  # int64, ns
WEIGHTS = 45  # int64 [pricing.N_WEIGHTS] ksmd's CPU per unit of work
FRAMES_NS = 46  # float64 [2] integrals over time: frames, dead_pages
BEFORE = 47  # int64 [N_COUNTERS] the counters before a batch
SETTLED = 48  # int64 [4] pages_shared, pages_sharing, ksm_zero_pages, frames at the last full scan
SAMPLE_ROWS = 49  # int64 [capacity * samples.ROW]
SPACE_ROWS = 50  # int64 [capacity * N_SPACE_COLUMNS]
# what the designs of 2009 count; no rows elsewhere
LOST = 51  # uint8 [n_entries] why nothing tracks the merged frame here, 0: not so (review.lost)
DEAD_MAPS = 52  # int32 [n_frames] entries of exited mms that map it
HELD = 53  # uint8 [n_mms] 1: an exit leaves its memory, as the design holds a reference
DESCENTS = 54  # int64 [descents.N_TREES * LONGEST] searches that ended so far, by tree and comparisons
DESCENTS_PAID = 55  # int64, the same of those that were charged for
DESIGN_COLUMNS = 56  # a design's own begin here
N_COLUMNS = DESIGN_COLUMNS + 40
N_VECTOR = N_SCALARS + 2 * N_COLUMNS


def _place(m: Vector, column: int, dtype: type[Any]) -> npt.NDArray[Any]:
    # The column with the JIT off.
    place = N_SCALARS + 2 * column
    n = int(m[place + 1])
    kind = np.dtype(dtype)
    if n == 0:
        return np.zeros(0, kind)
    buffer: Any = (ctypes.c_char * (n * kind.itemsize)).from_address(int(m[place]))
    column_now: npt.NDArray[Any] = np.frombuffer(buffer, kind)
    return column_now


def _reader(dtype: type[Any], width: int = 1) -> Any:
    # What turns (m, column) into a column: [n] or, with `width` above 1, [n, width].
    if not numba_config.DISABLE_JIT:
        return column_reader(dtype, width, N_SCALARS)

    def read(m: Vector, column: int) -> Any:
        found = _place(m, column, dtype)
        if dtype is np.float64:
            return found
        return Integers(found if width == 1 else found.reshape(-1, width))

    return read


i32 = _reader(np.int32)
i64 = _reader(np.int64)
u8 = _reader(np.uint8)
u16 = _reader(np.uint16)
u32 = _reader(np.uint32)
f64 = _reader(np.float64)
tree_rows = _reader(np.int32, 4)


class Machine:
    """The columns of one replay, and `m`, the vector that kernels take."""

    def __init__(self) -> None:
        self.m: npt.NDArray[np.int64] = np.zeros(N_VECTOR, np.int64)
        self._columns: dict[int, npt.NDArray[Any]] = {}

    def __setitem__(self, column: int, array: npt.NDArray[Any]) -> None:
        """Let `column` stand for `array`, which must be C-contiguous and of the column's dtype."""
        assert array.flags.c_contiguous
        self._columns[column] = array
        place = N_SCALARS + 2 * column
        self.m[place] = array.ctypes.data
        self.m[place + 1] = array.size

    def __getitem__(self, column: int) -> npt.NDArray[Any]:
        return self._columns[column]
