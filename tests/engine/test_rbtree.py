"""The tree keeps the red-black rules and the order under random insertions, removals and replacements."""

import numpy as np
import pytest

from ksmbench.engine import rbtree
from tests.engine.alone import alone

insert, erase, replace = alone(rbtree.insert), alone(rbtree.erase), alone(rbtree.replace)
parent_of = alone(rbtree.parent_of)


class Tree:
    """A tree of distinct integers; node i holds keys[i]."""

    def __init__(self, n: int) -> None:
        self.rows = rbtree.make_rows(n)
        self.roots = np.full(2, rbtree.NULL, np.int32)
        self.keys = np.zeros(n, np.int64)

    def insert(self, node: int, key: int) -> None:
        self.keys[node] = key
        above, side, at = rbtree.NULL, rbtree.LEFT, int(self.roots[1])
        while at >= 0:
            above, side = at, rbtree.LEFT if key < self.keys[at] else rbtree.RIGHT
            at = int(self.rows[at, side])
        insert(self.rows, self.roots, 1, node, above, side)

    def walk(self, at: int, above: int) -> tuple[list[int], int]:
        """Keys below `at` in order, and the black height; asserts every rule on the way."""
        if at < 0:
            return [], 1
        rows = self.rows
        assert parent_of(rows, at) == above
        if rows[at, rbtree.UP] & 1 == rbtree.RED:
            assert above >= 0
            assert rows[above, rbtree.UP] & 1 == rbtree.BLACK
        left, left_height = self.walk(int(rows[at, rbtree.LEFT]), at)
        right, right_height = self.walk(int(rows[at, rbtree.RIGHT]), at)
        assert left_height == right_height
        return [*left, int(self.keys[at]), *right], left_height + int(rows[at, rbtree.UP] & 1 == rbtree.BLACK)

    def shape(self, at: int) -> object:
        if at < 0:
            return None
        up, left, right = (int(link) for link in self.rows[at, :3])
        return (self.shape(left), int(self.keys[at]), up & 1, self.shape(right))


@pytest.mark.parametrize("seed", range(8))
def test_random_operations_keep_the_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = Tree(64)
    free, used = list(range(64)), []
    for step in range(1500):
        action = rng.random()
        if free and (not used or action < (0.6 if step % 500 < 250 else 0.3)):
            node = free.pop(int(rng.integers(len(free))))
            key = int(rng.integers(1 << 40)) * 64 + node
            tree.insert(node, key)
            used.append(node)
        elif used and free and action < 0.7:
            old = used.pop(int(rng.integers(len(used))))
            new = free.pop()
            tree.keys[new] = tree.keys[old]
            replace(tree.rows, tree.roots, 1, old, new)
            used.append(new)
            free.append(old)
        elif used:
            node = used.pop(int(rng.integers(len(used))))
            erase(tree.rows, tree.roots, 1, node)
            free.append(node)
        keys, _ = tree.walk(int(tree.roots[1]), rbtree.NULL)
        assert keys == sorted(int(tree.keys[node]) for node in used)
    assert tree.roots[0] == rbtree.NULL


def test_shapes_are_the_textbooks() -> None:
    """Worked by hand with RB-INSERT and RB-DELETE: 1..6 ascending, then 4 (the root's right child's successor case)."""
    tree = Tree(8)
    for key in range(1, 7):
        tree.insert(key, key)
    red, black = rbtree.RED, rbtree.BLACK
    three = (None, 3, black, None)
    assert tree.shape(int(tree.roots[1])) == (
        (None, 1, black, None),
        2,
        black,
        (three, 4, red, (None, 5, black, (None, 6, red, None))),
    )
    erase(tree.rows, tree.roots, 1, 4)
    assert tree.shape(int(tree.roots[1])) == (
        (None, 1, black, None),
        2,
        black,
        (three, 5, red, (None, 6, black, None)),
    )
