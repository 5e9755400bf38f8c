"""Warps between views of a ball, by exact maps and by maps that are turned by a known angle."""

import pytest

from mvs.evaluation.truth import Truth
from mvs.evaluation.warp import WarpEvaluationOptions, region_figures, warp_figures
from tests.evaluation.captures import setting, write_ball
from tests.evaluation.maps import ball_views

SCENE = setting(4)
WHOLE = WarpEvaluationOptions(parts=("face",), angles_deg=(40.0,), n_points=3000)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return Truth(write_ball(tmp_path_factory.mktemp("ball"), SCENE))


def test_exact_maps_warp_exactly(truth):
    (found,) = warp_figures(truth, ball_views(truth.capture, SCENE), WHOLE)
    assert (found.part, found.angle_deg) == ("face", 40.0)
    assert found.n_pairs == 6  # yaws -60, -20, 20, 60, both ways
    assert found.n > 4000
    # Beyond some 80 degrees of slant pixels lie too far apart in the cube.
    assert found.found > 0.72
    assert found.median_px < 0.1
    assert found.median_mm < 0.05
    assert not warp_figures(truth, ball_views(truth.capture, SCENE), WarpEvaluationOptions())


def test_a_turned_map_is_off_by_its_turn(truth):
    """One view's coordinates are turned: warps from and to it miss by radius times angle."""
    views = ball_views(truth.capture, SCENE, (0.04, 0.0, 0.0, 0.0))
    every = warp_figures(truth, views, WHOLE)[0]
    assert every.p90_px > 3


def test_exact_maps_have_the_true_regions(truth):
    figures = region_figures(truth, ball_views(truth.capture, SCENE), 3000)
    assert sum(f.n for f in figures) > 1000
    for found in figures:
        if found.n > 300:
            assert found.iou > 0.85


@pytest.mark.parametrize(
    "changes", [{"n_points": 0}, {"angles_deg": ()}, {"tolerance_deg": 0.0}, {"max_pairs": 0}]
)
def test_wrong_options_are_refused(changes):
    with pytest.raises(ValueError):
        WarpEvaluationOptions(**changes)
