"""Colours of what is known of points."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.canonical.regions import REGION_COLORS, REGIONS
from mvs.viewer.colors import COLORINGS, UNKNOWN, available, bar, diverge, legend, ramp
from mvs.viewer.subject import Shape
from tests.ball import cloud_of

KNOWN = frozenset({"normal", "rgb", "uvw", "confidence", "views"})
VIRIDIS = [68, 1, 84], [253, 231, 37]


def shape_of(points, known=KNOWN):
    return Shape(cloud_of(np.asarray(points, float)), None, known)


def test_a_ramp_begins_and_ends_where_it_says():
    colors = ramp(np.array([-3.0, 2.0, 3.0, 4.0, 9.0, np.nan]), 2.0, 4.0).astype(int)
    for row, expected in ((0, VIRIDIS[0]), (1, VIRIDIS[0]), (3, VIRIDIS[1]), (4, VIRIDIS[1])):
        assert np.abs(colors[row] - expected).max() <= 1
    assert colors[5].tolist() == list(UNKNOWN)
    # The middle is greener than either end.
    assert colors[2].argmax() == 1


def test_diverging_colours_are_blue_white_and_red():
    colors = diverge(np.array([-2.0, -1.0, 0.0, 1.0, 2.0, np.nan]), 1.0).astype(int)
    assert colors[0].tolist() == colors[1].tolist() == [33, 80, 190]
    assert colors[2].tolist() == [240, 240, 240]
    assert colors[3].tolist() == colors[4].tolist() == [190, 40, 30]
    assert colors[5].tolist() == list(UNKNOWN)
    half = diverge(np.array([0.5]), 1.0).astype(int)[0]
    assert half.tolist() == [215, 140, 135]


def test_colourings_of_known_attributes():
    shape = shape_of([[0, 0, 1], [0, -2, 0]])
    assert COLORINGS["normal"](shape).tolist() == [[128, 128, 255], [128, 0, 128]]
    assert COLORINGS["rgb"](shape).tolist() == [[77, 77, 77]] * 2
    assert COLORINGS["uvw"](shape).tolist() == [[128, 128, 204], [128, 0, 128]]
    assert np.abs(COLORINGS["confidence"](shape)[1].astype(int) - VIRIDIS[1]).max() <= 1
    views = replace(shape.cloud, n_views=np.array([0, 7], np.int32))
    found = COLORINGS["views"](replace(shape, cloud=views)).astype(int)
    assert np.abs(found - VIRIDIS).max() <= 1


def test_parts_have_the_colours_of_the_regions():
    """The tip of the nose and the middle of the hair, by their places in the cube."""
    from mvs.canonical.layouts import load_layout

    layout = load_layout("named")
    tip = layout.positions[layout.names.index("nose_tip")]
    coords = np.stack([tip, [np.nan] * 3]).astype(np.float32)
    shape = shape_of(np.eye(3)[:2])
    shape = replace(shape, cloud=replace(shape.cloud, coords=coords))
    found = COLORINGS["part"](shape).tolist()
    assert found[0] == list(REGION_COLORS[REGIONS.index("nose")])
    assert found[1] == list(REGION_COLORS[0])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (KNOWN, list(COLORINGS)),
        (frozenset(), ["plain"]),
        (frozenset({"rgb"}), ["rgb", "plain"]),
        (frozenset({"uvw", "normal"}), ["plain", "normal", "uvw", "part"]),
    ],
)
def test_only_what_is_known_colours(known, expected):
    shape = shape_of(np.eye(3), known)
    assert available(shape) == expected
    for name in expected:
        colors = COLORINGS[name](shape)
        assert colors.shape == (3, 3)
        assert colors.dtype == np.uint8


def test_legends_say_what_colours_mean():
    shape = shape_of(np.eye(3))
    assert ">0<" in legend("confidence", shape)
    assert ">1<" in legend("confidence", shape)
    assert ">3<" in legend("views", shape)
    assert all(name in legend("part", shape) for name in REGIONS[1:])
    assert legend("rgb", shape) == ""
    assert "&lt;b&gt;" in bar(ramp(np.arange(3), 0, 2), ["<b>"])
