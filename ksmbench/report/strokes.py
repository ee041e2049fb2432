"""How lines of a plot are told apart: by colours that most eyes tell apart, past those by dashes and shapes too.

`tests/report/test_strokes.py` computes what the colours promise: as people see them who lack one kind of cone, any two
differ by at least 14 in CIEDE2000, and each stands out from a white and from a near-black card by at least 3 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

ORACLE = "oracle"
PALETTE = ("#255dfb", "#b08e0b", "#40794a", "#e05c75", "#975c83", "#249bbf")
CEILING = "#8a8f98"
CEILING_DASH = (6, 4)
_DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (11, 3), (2, 3))  # of the first six lines, the second six, all others
_SHAPES = ("circle", "square", "triangle-up")


@dataclass(frozen=True)
class Stroke:
    """The look of one line, and of its points: `dash` is empty for a solid one."""

    colour: str
    dash: tuple[int, ...] = ()
    shape: str = _SHAPES[0]


def strokes(labels: Sequence[str]) -> dict[str, Stroke]:
    """The stroke of each line, the oracle's last; `none` has none."""
    shown = [label for label in labels if label not in (ORACLE, "none")]
    found = {}
    for i, label in enumerate(shown):
        turn = min(i // len(PALETTE), len(_DASHES) - 1)
        found[label] = Stroke(PALETTE[i % len(PALETTE)], _DASHES[turn] if turn else (), _SHAPES[turn])
    return found | {ORACLE: Stroke(CEILING, CEILING_DASH)}


def colour_scale(labels: Sequence[str]) -> alt.Scale:
    """The colours of `strokes` for a plot."""
    found = strokes(labels)
    return alt.Scale(domain=list(found), range=[one.colour for one in found.values()])


def dash_scale(labels: Sequence[str]) -> alt.Scale:
    """Their dashes."""
    found = strokes(labels)
    return alt.Scale(domain=list(found), range=[list(one.dash or _DASHES[0]) for one in found.values()])


def shape_scale(labels: Sequence[str]) -> alt.Scale:
    """The shapes of their points."""
    found = strokes(labels)
    return alt.Scale(domain=list(found), range=[one.shape for one in found.values()])
