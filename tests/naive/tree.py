"""A red-black tree as the textbook has it (Cormen et al., chapter 13), with parents and without sorting by itself.

The caller walks from `root`, then links a new place at the leaf that it found. Erasing a place with two children moves
its successor's place there, so that every other place keeps its element.
"""

from typing import Any


class Place:
    """A tree node. It carries an element and never swaps it with another place."""

    def __init__(self, element: Any) -> None:
        self.element = element
        self.left: Place | None = None
        self.right: Place | None = None
        self.parent: Place | None = None
        self.red = True


class Tree:
    """The tree; `root` is None when it is empty."""

    def __init__(self) -> None:
        self.root: Place | None = None

    def link(self, place: Place, parent: Place | None, *, left: bool) -> None:
        """Put `place` at a free leaf of `parent` (None: the tree is empty) and rebalance."""
        place.left = place.right = None
        place.parent = parent
        place.red = True
        if parent is None:
            self.root = place
        elif left:
            parent.left = place
        else:
            parent.right = place
        self._fix_insert(place)

    def erase(self, z: Place) -> None:
        """Take `z` out and rebalance."""
        removed_red = z.red
        if z.left is None:
            x, x_parent = z.right, z.parent
            self._transplant(z, z.right)
        elif z.right is None:
            x, x_parent = z.left, z.parent
            self._transplant(z, z.left)
        else:
            y = z.right
            while y.left is not None:
                y = y.left
            removed_red = y.red
            x = y.right
            if y.parent is z:
                x_parent = y
            else:
                x_parent = y.parent
                self._transplant(y, y.right)
                y.right = z.right
                y.right.parent = y
            self._transplant(z, y)
            y.left = z.left
            y.left.parent = y
            y.red = z.red
        if not removed_red:
            self._fix_erase(x, x_parent)
        z.left = z.right = z.parent = None

    def elements(self) -> list[Any]:
        """All elements from left to right."""
        found: list[Any] = []

        def visit(place: Place | None) -> None:
            if place is not None:
                visit(place.left)
                found.append(place.element)
                visit(place.right)

        visit(self.root)
        return found

    def _transplant(self, old: Place, new: Place | None) -> None:
        if old.parent is None:
            self.root = new
        elif old is old.parent.left:
            old.parent.left = new
        else:
            old.parent.right = new
        if new is not None:
            new.parent = old.parent

    def _rotate_left(self, x: Place) -> None:
        y = x.right
        assert y is not None
        x.right = y.left
        if y.left is not None:
            y.left.parent = x
        self._transplant(x, y)
        y.left = x
        x.parent = y

    def _rotate_right(self, x: Place) -> None:
        y = x.left
        assert y is not None
        x.left = y.right
        if y.right is not None:
            y.right.parent = x
        self._transplant(x, y)
        y.right = x
        x.parent = y

    def _fix_insert(self, z: Place) -> None:
        while z.parent is not None and z.parent.red:
            parent = z.parent
            grand = parent.parent
            assert grand is not None  # a red place is never the root
            uncle = grand.right if parent is grand.left else grand.left
            if uncle is not None and uncle.red:
                parent.red = uncle.red = False
                grand.red = True
                z = grand
                continue
            if parent is grand.left:
                if z is parent.right:
                    self._rotate_left(parent)
                    parent = z
                parent.red, grand.red = False, True
                self._rotate_right(grand)
            else:
                if z is parent.left:
                    self._rotate_right(parent)
                    parent = z
                parent.red, grand.red = False, True
                self._rotate_left(grand)
            break
        assert self.root is not None
        self.root.red = False

    def _fix_erase(self, x: Place | None, parent: Place | None) -> None:
        while x is not self.root and not _is_red(x):
            assert parent is not None
            if x is parent.left:
                w = parent.right
                if _is_red(w):
                    w.red, parent.red = False, True
                    self._rotate_left(parent)
                    w = parent.right
                if not _is_red(w.left) and not _is_red(w.right):
                    w.red = True
                    x, parent = parent, parent.parent
                    continue
                if not _is_red(w.right):
                    w.left.red, w.red = False, True
                    self._rotate_right(w)
                    w = parent.right
                w.red, parent.red, w.right.red = parent.red, False, False
                self._rotate_left(parent)
            else:
                w = parent.left
                if _is_red(w):
                    w.red, parent.red = False, True
                    self._rotate_right(parent)
                    w = parent.left
                if not _is_red(w.left) and not _is_red(w.right):
                    w.red = True
                    x, parent = parent, parent.parent
                    continue
                if not _is_red(w.left):
                    w.right.red, w.red = False, True
                    self._rotate_left(w)
                    w = parent.left
                w.red, parent.red, w.left.red = parent.red, False, False
                self._rotate_right(parent)
            x = self.root
        if x is not None:
            x.red = False


def _is_red(place: Place | None) -> bool:
    return place is not None and place.red


def check(tree: Tree) -> int:
    """The black height; an AssertionError where a rule of red-black trees is broken."""

    def height(place: Place | None) -> int:
        if place is None:
            return 1
        for child in (place.left, place.right):
            assert child is None or child.parent is place
            assert not (place.red and _is_red(child))
        left, right = height(place.left), height(place.right)
        assert left == right
        return left + (not place.red)

    assert tree.root is None or (not tree.root.red and tree.root.parent is None)
    return height(tree.root)
