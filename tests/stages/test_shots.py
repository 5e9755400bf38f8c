import numpy as np

from mvs.stages.shots import Shots


def test_strays_are_far_and_few():
    shots = Shots((), (), (), (), (), np.array([1.0, 2, 3]), 0.5)
    rng = np.random.default_rng(0)
    points = shots.center + 0.3 * rng.uniform(-1, 1, (1000, 3))
    points[::200] += 2.0
    expected = np.ones(1000, bool)
    expected[::200] = False
    np.testing.assert_array_equal(shots.holds(points), expected)
    # Many cannot be strays: they are part of what is there.
    points[::20] += 2.0
    assert shots.holds(points).all()
