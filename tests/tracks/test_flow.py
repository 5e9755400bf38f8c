"""Flow and its interpolation against functions that are known."""

import cv2
import numpy as np
import pytest

from mvs.tracks.flow import Flow, bilinear, flow_between, step_forward, texture
from mvs.types import Square
from tests.tracks.moving import CENTER, RADIUS, SIZE, frames, to_first

WHOLE = Square((SIZE / 2, SIZE / 2), float(SIZE))


def on_disc(n, seed=0):
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n), 0.85 * RADIUS * np.sqrt(rng.uniform(0, 1, n))
    return CENTER + radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def test_bilinear_is_exact_on_a_ramp():
    ys, xs = np.indices((7, 9)) + 0.5
    field = np.stack([2 * xs - ys, 3 * ys + 1], axis=-1).astype(np.float32)
    points = np.random.default_rng(0).uniform((0.5, 0.5), (8.5, 6.5), (50, 2))
    x, y = points.T
    np.testing.assert_allclose(bilinear(field, points), np.stack([2 * x - y, 3 * y + 1], 1), 1e-5)


def test_bilinear_has_nothing_outside():
    field = np.ones((4, 4, 2), np.float32)
    points = np.array([[-0.1, 2], [2, 4.1], [np.nan, 1], [4, 4], [0, 0]])
    np.testing.assert_array_equal(np.isnan(bilinear(field, points)[:, 0]), [1, 1, 1, 0, 0])


def test_a_point_that_leaves_the_square_is_lost():
    flow = Flow(np.full((8, 8, 2), 3.0, np.float32), np.array([10.0, 20.0]), 2.0)
    moved = flow.move(np.array([[12.0, 22.0], [23.0, 22.0], [9.0, 22.0]]))
    np.testing.assert_allclose(moved, [[18, 28], [np.nan, np.nan], [np.nan, np.nan]])


@pytest.mark.parametrize("side", [240.0, 200.0, 150.0])
def test_one_step_follows_the_known_motion(side):
    first, second = frames(2)
    points = on_disc(300)
    points = points[(np.abs(points - CENTER) < side / 2 - 8).all(axis=1)]
    moved, errors = step_forward(flow_between(first, second, Square(WHOLE.center, side)), points)
    off = np.linalg.norm(to_first(moved, 1) - points, axis=1)
    assert np.median(off) < 0.1
    assert np.percentile(off, 95) < 0.4
    assert np.median(errors) < 0.1


def test_the_number_of_threads_changes_nothing():
    first, second = frames(2)
    before = cv2.getNumThreads()
    results = []
    try:
        for n in (1, 2):
            cv2.setNumThreads(n)
            results.append(flow_between(first, second, WHOLE).there.vectors)
            assert cv2.getNumThreads() == n
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(*results)


def test_texture_tells_corners_from_edges():
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[:32, :32] = 200
    values = texture(crop)
    assert values[32, 32] > 100
    assert values[32, 8] < 1
    assert values[50, 50] < 1e-3
