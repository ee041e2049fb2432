"""The RFC's mmlist and its slots (`docs/designs-2009.md` 3)."""

from ksmbench.designs.review.holding import break_and_free, free_held
from ksmbench.designs.review.places import link_before, unlink
from ksmbench.designs.review.state import CALLBACKS, FLAGGED, HEAD, LISTED, PLACE_NEXT, SLOT, TOUCHED
from ksmbench.engine.machine import ALIVE, BASE, END, HELD, Vector, i32, i64, u8
from ksmbench.engine.parts import part
from ksmbench.jit import Integer

# bits of CALLBACKS, in the order of their words
CALLBACK_WORDS = ("fork", "exit", "mremap", "munmap")
FORK, EXIT, MREMAP, MUNMAP = 1, 2, 4, 8


@part
def list_mm(m: Vector, mm: Integer) -> None:
    """List `mm` at the head of mmlist, which is the order of the scan."""
    if not u8(m, LISTED)[mm + 1]:
        link_before(m, mm + 1, i32(m, PLACE_NEXT)[HEAD])


@part
def ask(m: Vector, mm: Integer) -> None:
    """`mm` said MADV_MERGEABLE."""
    u8(m, FLAGGED)[mm] = 1
    list_mm(m, mm)


@part
def make_slot(m: Vector, mm: Integer) -> None:
    """Give `mm` a slot, which holds its memory when it exits, unless exits are told."""
    u8(m, SLOT)[mm] = 1
    u8(m, HELD)[mm] = not m[CALLBACKS] & EXIT


@part
def release(m: Vector, mm: Integer, stopped: Integer) -> None:
    """Take the slot away, and with it the memory of an mm that has exited; `stopped`: because of a store to run."""
    break_and_free(m, mm, i64(m, BASE)[mm], i64(m, END)[mm], stopped)
    u8(m, SLOT)[mm] = u8(m, TOUCHED)[mm] = u8(m, HELD)[mm] = 0
    if not u8(m, ALIVE)[mm]:
        free_held(m, mm)
        unlink(m, mm + 1)
