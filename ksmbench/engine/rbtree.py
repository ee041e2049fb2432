"""Red-black trees over index arrays, with the shapes and colours of the kernel's `lib/rbtree.c`.

Nodes are rows of one int32 array [n, 4], 16 bytes each, so that a step of a search costs one cache line: parent and
colour in one number, left, right, and a key that belongs to the caller. Several trees may share an array (stable and
unstable, one of each per NUMA node), each named by its row in `roots`. The algorithms are the textbook's (Cormen,
Leiserson, Rivest, Stein: RB-INSERT, RB-DELETE with the in-order successor moved into place), which `ksm-semantics.md`
0.5 found equal to the kernel's in shape and colour. Searching is the caller's: this module does not know the order.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.engine.parts import part
from ksmbench.jit import Integer

# As numpy's integers: numba compiles a function again for every literal that it is called with.
NULL = np.int64(-1)
BLACK = np.int64(0)
RED = np.int64(1)
UP = 0  # parent * 2 + colour; an arithmetic shift keeps the parent NULL
LEFT = np.int64(1)
RIGHT = np.int64(2)
KEY = 3  # the caller's

Rows = Any  # int32 [n, 4]
Roots = Any  # int32 [n_trees]


def make_rows(n: int) -> npt.NDArray[np.int32]:
    """Rows for `n` nodes, none of them in a tree, keys NULL."""
    rows: npt.NDArray[np.int32] = np.full((n, 4), NULL, np.int32)
    return rows


@part
def parent_of(rows: Rows, node: Integer) -> Integer:
    """The parent of `node`, or NULL."""
    return rows[node, UP] >> 1


@part
def _is_red(rows: Rows, node: Integer) -> Integer:
    return node >= 0 and (rows[node, UP] & 1) == RED


@part
def _set_parent(rows: Rows, node: Integer, above: Integer) -> None:
    rows[node, UP] = (above << 1) | (rows[node, UP] & 1)


@part
def _set_color(rows: Rows, node: Integer, color: Integer) -> None:
    rows[node, UP] = (rows[node, UP] & ~1) | color


@part
def _put_below(rows: Rows, roots: Roots, tree: Integer, above: Integer, old: Integer, new: Integer) -> None:
    # `new` (or NULL) takes the place of `old` under `above`, or at the root.
    if above < 0:
        roots[tree] = new
    elif rows[above, LEFT] == old:
        rows[above, LEFT] = new
    else:
        rows[above, RIGHT] = new
    if new >= 0:
        _set_parent(rows, new, above)


@part
def _rotate(rows: Rows, roots: Roots, tree: Integer, x: Integer, side: Integer) -> None:
    # x goes down to `side` (LEFT or RIGHT), its child on the other side comes up.
    other = LEFT + RIGHT - side
    y = rows[x, other]
    middle = rows[y, side]
    rows[x, other] = middle
    if middle >= 0:
        _set_parent(rows, middle, x)
    _put_below(rows, roots, tree, parent_of(rows, x), x, y)
    rows[y, side] = x
    _set_parent(rows, x, y)


@part
def insert(rows: Rows, roots: Roots, tree: Integer, node: Integer, above: Integer, side: Integer) -> None:
    """Link `node` as a leaf under `above` (NULL: the tree is empty), on its `side` (LEFT or RIGHT), and rebalance."""
    rows[node, LEFT] = NULL
    rows[node, RIGHT] = NULL
    rows[node, UP] = (above << 1) | RED
    if above < 0:
        roots[tree] = node
    else:
        rows[above, side] = node
    z = node
    up = above
    while up >= 0 and (rows[up, UP] & 1) == RED:
        top = rows[up, UP] >> 1
        near = LEFT if rows[top, LEFT] == up else RIGHT
        far = LEFT + RIGHT - near
        uncle = rows[top, far]
        if uncle >= 0 and (rows[uncle, UP] & 1) == RED:
            _set_color(rows, up, BLACK)
            _set_color(rows, uncle, BLACK)
            _set_color(rows, top, RED)
            z = top
            up = rows[z, UP] >> 1
            continue
        if rows[up, far] == z:
            _rotate(rows, roots, tree, up, near)
            up = z
        _set_color(rows, up, BLACK)
        _set_color(rows, top, RED)
        _rotate(rows, roots, tree, top, far)
        break
    _set_color(rows, roots[tree], BLACK)


@part
def erase(rows: Rows, roots: Roots, tree: Integer, node: Integer) -> None:
    """Take `node` out of the tree and rebalance; its own links are left undefined."""
    color = rows[node, UP] & 1
    above = rows[node, UP] >> 1
    left = rows[node, LEFT]
    right = rows[node, RIGHT]
    if left < 0:
        x = right
        _put_below(rows, roots, tree, above, node, x)
    elif right < 0:
        x = left
        _put_below(rows, roots, tree, above, node, x)
    else:
        y = right  # becomes the in-order successor
        while rows[y, LEFT] >= 0:
            y = rows[y, LEFT]
        removed = rows[y, UP] & 1
        x = rows[y, RIGHT]
        if y == right:
            x_above = y
        else:
            x_above = rows[y, UP] >> 1
            _put_below(rows, roots, tree, x_above, y, x)
            rows[y, RIGHT] = right
            _set_parent(rows, right, y)
        _put_below(rows, roots, tree, above, node, y)
        rows[y, LEFT] = left
        _set_parent(rows, left, y)
        _set_color(rows, y, color)
        color = removed
        above = x_above
    if color == BLACK:
        _restore_black(rows, roots, tree, x, above)


@part
def _restore_black(rows: Rows, roots: Roots, tree: Integer, x: Integer, above: Integer) -> None:
    # RB-DELETE-FIXUP: the paths through x (maybe NULL, under `above`) lack one black node.
    while above >= 0 and not _is_red(rows, x):
        near = LEFT if rows[above, LEFT] == x else RIGHT
        far = LEFT + RIGHT - near
        sibling = rows[above, far]
        if _is_red(rows, sibling):
            _set_color(rows, sibling, BLACK)
            _set_color(rows, above, RED)
            _rotate(rows, roots, tree, above, near)
            sibling = rows[above, far]
        if not _is_red(rows, rows[sibling, LEFT]) and not _is_red(rows, rows[sibling, RIGHT]):
            _set_color(rows, sibling, RED)
            x = above
            above = rows[x, UP] >> 1
            continue
        if not _is_red(rows, rows[sibling, far]):
            _set_color(rows, rows[sibling, near], BLACK)
            _set_color(rows, sibling, RED)
            _rotate(rows, roots, tree, sibling, far)
            sibling = rows[above, far]
        _set_color(rows, sibling, rows[above, UP] & 1)
        _set_color(rows, above, BLACK)
        _set_color(rows, rows[sibling, far], BLACK)
        _rotate(rows, roots, tree, above, near)
        return
    if x >= 0:
        _set_color(rows, x, BLACK)


@part
def replace(rows: Rows, roots: Roots, tree: Integer, old: Integer, new: Integer) -> None:
    """Put `new` where `old` stands: same parent, children and colour."""
    rows[new, LEFT] = rows[old, LEFT]
    rows[new, RIGHT] = rows[old, RIGHT]
    rows[new, UP] = rows[old, UP]
    _put_below(rows, roots, tree, parent_of(rows, old), old, new)
    if rows[new, LEFT] >= 0:
        _set_parent(rows, rows[new, LEFT], new)
    if rows[new, RIGHT] >= 0:
        _set_parent(rows, rows[new, RIGHT], new)
