import numpy as np
import pytest

from mvs.stages.pairs import PairOptions, choose_pairs
from tests.scenes import make_scene


@pytest.fixture(scope="module")
def cameras():
    return make_scene(9, 16, arc_deg=160.0).cameras


def angle(cameras, a, b):
    first, second = cameras[a].center, cameras[b].center
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    return np.degrees(np.arccos(cosine))


def test_sources_are_within_the_angles_and_best_first(cameras):
    options = PairOptions(n_sources=5)
    pairs = choose_pairs(cameras, np.zeros(3), options=options)
    assert [view for view, _ in pairs] == list(range(9))
    for view, sources in pairs:
        assert 1 <= len(sources) <= 5
        assert view not in sources
        assert len(set(sources)) == len(sources)
        angles = np.array([angle(cameras, view, source) for source in sources])
        assert ((angles >= 4) & (angles <= 70)).all()
        assert 15 <= angles[0] <= 45
        assert abs(angles[0] - 30) < abs(angles[-1] - 30) or len(angles) == 1


def test_far_views_are_better_than_none():
    cameras = make_scene(2, 16, arc_deg=100.0).cameras
    assert choose_pairs(cameras, np.zeros(3)) == [(0, [1]), (1, [0])]
    cameras = make_scene(2, 16, arc_deg=170.0).cameras
    assert choose_pairs(cameras, np.zeros(3)) == [(0, []), (1, [])]


def test_one_view_none_and_the_same_view_twice(cameras):
    assert choose_pairs([], np.zeros(3)) == []
    assert choose_pairs(cameras[:1], np.zeros(3)) == [(0, [])]
    assert choose_pairs([cameras[0], cameras[0]], np.zeros(3)) == [(0, []), (1, [])]


def test_order_of_views_does_not_matter(cameras):
    order = [4, 2, 8, 0, 6, 1, 3, 7, 5]
    straight = dict(choose_pairs(cameras, np.zeros(3)))
    shuffled = choose_pairs([cameras[i] for i in order], np.zeros(3))
    for view, sources in shuffled:
        assert {order[source] for source in sources} == set(straight[order[view]])


def test_views_that_share_points_come_first(cameras):
    points = np.random.default_rng(0).normal(0, 0.05, (400, 3))
    ids = [np.arange(400) if view != 3 else np.arange(3) for view in range(9)]
    without = dict(choose_pairs(cameras, np.zeros(3)))
    pairs = dict(choose_pairs(cameras, np.zeros(3), points, ids))
    assert without[4].index(3) < 4
    assert pairs[4].index(3) == len(pairs[4]) - 1


def test_bad_arguments(cameras):
    with pytest.raises(ValueError, match="center"):
        choose_pairs(cameras, np.array([0.0, np.nan, 0.0]))
    with pytest.raises(ValueError, match="point_ids"):
        choose_pairs(cameras, np.zeros(3), np.zeros((3, 3)), [np.arange(3)])
    with pytest.raises(ValueError, match="n_sources"):
        PairOptions(n_sources=0)
    with pytest.raises(ValueError, match="angles"):
        PairOptions(min_angle_deg=40.0, best_angle_deg=30.0)
