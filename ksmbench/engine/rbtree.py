"""Red-black trees over index arrays, with the shapes and colours of the kernel's `lib/rbtree.c`.

Nodes are rows 0 .. n-1 of the arrays of one `Nodes`; several trees share them (stable and unstable, one of each per
NUMA node), each named by its row in `roots`. The algorithms are the textbook's (Cormen, Leiserson, Rivest, Stein:
RB-INSERT, RB-DELETE with the in-order successor moved into place), which `ksm-semantics.md` 0.5 found equal to the
kernel's in shape and colour. Searching is the caller's: the order is the contents', which this module does not know.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ksmbench.engine.jit import kernel

NULL = -1
BLACK = 0
RED = 1


class Nodes(NamedTuple):
    """The links of tree nodes; NULL (-1) where there is none."""

    parent: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    color: npt.NDArray[np.uint8]  # BLACK or RED


def make_nodes(n: int) -> Nodes:
    """Links for `n` nodes, none of them in a tree (13 bytes per node)."""
    links = [np.full(n, NULL, np.int32) for _ in range(3)]
    return Nodes(links[0], links[1], links[2], np.zeros(n, np.uint8))


@kernel
def _rotate_left(nodes: Nodes, roots: npt.NDArray[np.int32], tree: int, x: int) -> None:
    # Writes: nodes, roots[tree].
    parent, left, right = nodes.parent, nodes.left, nodes.right
    y = right[x]
    middle = left[y]
    right[x] = middle
    if middle >= 0:
        parent[middle] = x
    _put_below(nodes, roots, tree, parent[x], x, y)
    left[y] = x
    parent[x] = y


@kernel
def _rotate_right(nodes: Nodes, roots: npt.NDArray[np.int32], tree: int, x: int) -> None:
    # Writes: nodes, roots[tree].
    parent, left, right = nodes.parent, nodes.left, nodes.right
    y = left[x]
    middle = right[y]
    left[x] = middle
    if middle >= 0:
        parent[middle] = x
    _put_below(nodes, roots, tree, parent[x], x, y)
    right[y] = x
    parent[x] = y


@kernel
def _put_below(nodes: Nodes, roots: npt.NDArray[np.int32], tree: int, above: int, old: int, new: int) -> None:
    # `new` (or NULL) takes the place of `old` under `above`, or at the root.
    if above < 0:
        roots[tree] = new
    elif nodes.left[above] == old:
        nodes.left[above] = new
    else:
        nodes.right[above] = new
    if new >= 0:
        nodes.parent[new] = above


@kernel
def insert(nodes: Nodes, roots: npt.NDArray[np.int32], tree: int, node: int, above: int, on_left: bool) -> None:
    """Link `node` as a leaf under `above` (NULL: the tree is empty), on its left or right, and rebalance.

    Reads: nothing else. Writes: `nodes`, `roots[tree]`.
    """
    parent, left, right, color = nodes.parent, nodes.left, nodes.right, nodes.color
    left[node] = NULL
    right[node] = NULL
    parent[node] = above
    color[node] = RED
    if above < 0:
        roots[tree] = node
    elif on_left:
        left[above] = node
    else:
        right[above] = node
    z = node
    while parent[z] >= 0 and color[parent[z]] == RED:
        up = parent[z]
        top = parent[up]
        up_is_left = left[top] == up
        uncle = right[top] if up_is_left else left[top]
        if uncle >= 0 and color[uncle] == RED:
            color[up] = BLACK
            color[uncle] = BLACK
            color[top] = RED
            z = top
        elif up_is_left:
            if right[up] == z:
                z = up
                _rotate_left(nodes, roots, tree, z)
                up = parent[z]
            color[up] = BLACK
            color[top] = RED
            _rotate_right(nodes, roots, tree, top)
        else:
            if left[up] == z:
                z = up
                _rotate_right(nodes, roots, tree, z)
                up = parent[z]
            color[up] = BLACK
            color[top] = RED
            _rotate_left(nodes, roots, tree, top)
    color[roots[tree]] = BLACK


@kernel
def erase(nodes: Nodes, roots: npt.NDArray[np.int32], tree: int, node: int) -> None:
    """Take `node` out of the tree and rebalance; its own links are left undefined.

    Writes: `nodes`, `roots[tree]`.
    """
    parent, left, right, color = nodes.parent, nodes.left, nodes.right, nodes.color
    removed_color = color[node]
    if left[node] < 0:
        x = right[node]
        above = parent[node]
        _put_below(nodes, roots, tree, above, node, x)
    elif right[node] < 0:
        x = left[node]
        above = parent[node]
        _put_below(nodes, roots, tree, above, node, x)
    else:
        y = right[node]  # becomes the in-order successor
        while left[y] >= 0:
            y = left[y]
        removed_color = color[y]
        x = right[y]
        if parent[y] == node:
            above = y
        else:
            above = parent[y]
            _put_below(nodes, roots, tree, above, y, x)
            right[y] = right[node]
            parent[right[y]] = y
        _put_below(nodes, roots, tree, parent[node], node, y)
        left[y] = left[node]
        parent[left[y]] = y
        color[y] = color[node]
    if removed_color == BLACK:
        _restore_black(nodes, roots, tree, x, above)


@kernel
def _restore_black(nodes: Nodes, roots: npt.NDArray[np.int32], tree: int, x: int, above: int) -> None:
    # RB-DELETE-FIXUP: the paths through x (maybe NULL, under `above`) lack one black node.
    left, right, color = nodes.left, nodes.right, nodes.color
    while above >= 0 and (x < 0 or color[x] == BLACK):
        x_is_left = left[above] == x
        sibling = right[above] if x_is_left else left[above]
        if color[sibling] == RED:
            color[sibling] = BLACK
            color[above] = RED
            if x_is_left:
                _rotate_left(nodes, roots, tree, above)
                sibling = right[above]
            else:
                _rotate_right(nodes, roots, tree, above)
                sibling = left[above]
        near = left[sibling] if x_is_left else right[sibling]
        far = right[sibling] if x_is_left else left[sibling]
        if (near < 0 or color[near] == BLACK) and (far < 0 or color[far] == BLACK):
            color[sibling] = RED
            x = above
            above = nodes.parent[x]
            continue
        if far < 0 or color[far] == BLACK:
            color[near] = BLACK
            color[sibling] = RED
            if x_is_left:
                _rotate_right(nodes, roots, tree, sibling)
            else:
                _rotate_left(nodes, roots, tree, sibling)
            far = sibling
            sibling = near
        color[sibling] = color[above]
        color[above] = BLACK
        color[far] = BLACK
        if x_is_left:
            _rotate_left(nodes, roots, tree, above)
        else:
            _rotate_right(nodes, roots, tree, above)
        return
    if x >= 0:
        color[x] = BLACK


@kernel
def replace(nodes: Nodes, roots: npt.NDArray[np.int32], tree: int, old: int, new: int) -> None:
    """Put `new` where `old` stands: same parent, children and colour.

    Writes: `nodes`, `roots[tree]`.
    """
    nodes.left[new] = nodes.left[old]
    nodes.right[new] = nodes.right[old]
    nodes.color[new] = nodes.color[old]
    _put_below(nodes, roots, tree, nodes.parent[old], old, new)
    if nodes.left[new] >= 0:
        nodes.parent[nodes.left[new]] = new
    if nodes.right[new] >= 0:
        nodes.parent[nodes.right[new]] = new
