"""What can be seen of a mesh from outside: a ball in an open and in a closed shell."""

import numpy as np

from mvs.canonical.openness import openness
from tests.scenes import unit_ball


def test_what_a_shell_hides():
    unit, faces = unit_ball(24, 32)
    points = np.concatenate([unit, 0.5 * unit])
    both = np.concatenate([faces, faces + len(unit)]).astype(np.int32)
    found = openness(points, both)
    assert found[: len(unit)].min() > 0.9
    assert found[len(unit) :].max() < 0.02
    # Without the upper half of the shell the inner ball's top is seen, its bottom is not.
    kept = both[~((points[both][..., 1] > -0.05) & (both < len(unit))).all(axis=1)]
    inner = openness(points, kept)[len(unit) :]
    assert inner[unit[:, 1] > 0.9].min() > 0.8
    assert inner[unit[:, 1] < -0.6].max() < 0.1


def test_size_and_place_do_not_matter():
    unit, faces = unit_ball(12, 16)
    points = np.concatenate([unit, 0.9 * unit + [0.5, 0, 0]])
    both = np.concatenate([faces, faces + len(unit)]).astype(np.int32)
    moved = 370.0 * points + [100.0, -2000.0, 5.0]
    np.testing.assert_allclose(openness(points, both), openness(moved, both), atol=0.02)
