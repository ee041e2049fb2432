"""The colours of plots are told apart also by those who lack one kind of cone, and on both backgrounds: computed."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from ksmbench.report.detail import STEP_COLOURS, STEPS
from ksmbench.report.strokes import CEILING, PALETTE, strokes

CARDS = ("#ffffff", "#1c2026")  # light and dark, as in style.html.j2
CONTRAST = 3.0  # WCAG 2.1, 1.4.11: graphics that have to be told from what is beside them
DISTANCE = 14.0  # CIEDE2000, between colours of lines that are told apart by nothing else
FROM_CEILING = 10.0  # which is also the one that is dashed in the first six

Numbers = npt.NDArray[np.float64]

# Machado, Oliveira, Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency", IEEE
# TVCG 15(6), severity 1.0, on linear RGB.
SEEN = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> Numbers:
    """Linear RGB of "#rrggbb"."""
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """As WCAG defines it, 1 to 21."""
    low, high = sorted(float(TO_XYZ[1] @ linear(each)) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: Numbers) -> Numbers:
    """CIE L*a*b* of linear RGB, for the white of sRGB."""
    part = (TO_XYZ @ rgb) / TO_XYZ.sum(axis=1)
    f = np.where(part > 216 / 24389, np.cbrt(part), (24389 / 27 * part + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(one: Numbers, other: Numbers) -> float:
    """The difference of two colours in L*a*b* (Sharma, Wu, Dalal 2005)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(mean**7 / (mean**7 + 25.0**7)))
    c1, c2 = np.hypot(a1 * (1 + g), b1), np.hypot(a2 * (1 + g), b2)
    h1 = np.degrees(np.arctan2(b1, a1 * (1 + g))) % 360
    h2 = np.degrees(np.arctan2(b2, a2 * (1 + g))) % 360
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    d_hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    l_mean, c_mean = (l1 + l2) / 2, (c1 + c2) / 2
    h_mean = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    t = 1 - 0.17 * np.cos(np.radians(h_mean - 30)) + 0.24 * np.cos(np.radians(2 * h_mean))
    t += 0.32 * np.cos(np.radians(3 * h_mean + 6)) - 0.20 * np.cos(np.radians(4 * h_mean - 63))
    s_l = 1 + 0.015 * (l_mean - 50) ** 2 / np.sqrt(20 + (l_mean - 50) ** 2)
    s_c, s_h = 1 + 0.045 * c_mean, 1 + 0.015 * c_mean * t
    spread = 30 * np.exp(-(((h_mean - 275) / 25) ** 2))
    r = -np.sin(np.radians(2 * spread)) * 2 * np.sqrt(c_mean**7 / (c_mean**7 + 25.0**7))
    parts = (l2 - l1) / s_l, (c2 - c1) / s_c, d_hue / s_h
    return float(np.sqrt(sum(part**2 for part in parts) + r * parts[1] * parts[2]))


def seen(colour: str, cones: str) -> Numbers:
    """A colour in L*a*b* as it is seen with these cones."""
    return lab(np.clip(SEEN[cones] @ linear(colour), 0, 1))


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
        ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ],
)
def test_the_distance_is_that_of_the_published_pairs(one: object, other: object, distance: float) -> None:
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(distance, abs=1e-4)


@pytest.mark.parametrize("cones", SEEN)
def test_any_two_lines_are_told_apart(cones: str) -> None:
    for one, other in combinations(PALETTE, 2):
        assert ciede2000(seen(one, cones), seen(other, cones)) >= DISTANCE, (one, other)
    for one in PALETTE:
        assert ciede2000(seen(one, cones), seen(CEILING, cones)) >= FROM_CEILING, one


@pytest.mark.parametrize("card", CARDS)
def test_every_line_stands_out_from_its_card(card: str) -> None:
    for colour in (*PALETTE, CEILING, *STEP_COLOURS):
        assert contrast(colour, card) >= CONTRAST, colour


@pytest.mark.parametrize("cones", SEEN)
def test_any_two_steps_of_a_bar_are_told_apart(cones: str) -> None:
    assert len(STEP_COLOURS) == len(STEPS)
    for one, other in combinations(STEP_COLOURS, 2):
        assert ciede2000(seen(one, cones), seen(other, cones)) >= DISTANCE, (one, other)


def test_more_lines_than_colours_differ_by_dash_and_shape() -> None:
    found = strokes([f"design-{i}" for i in range(3 * len(PALETTE))])
    assert len(set(found.values())) == len(found)
    same = [one for one in found.values() if one.colour == PALETTE[0]]
    assert len({one.dash for one in same}) == len({one.shape for one in same}) == 3
    assert not any(one.dash for label, one in list(found.items())[: len(PALETTE)])
