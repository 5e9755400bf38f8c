"""Points followed through videos whose motion is known."""

import numpy as np
import pytest

from mvs.tracks.head import HeadFollower
from mvs.tracks.options import TracksOptions
from mvs.tracks.video import PointTracker
from tests.tracks.moving import (
    BrightEmbedder,
    covered_frames,
    frames,
    to_first,
    under_patch,
)


def follow(pictures, tmp_path, **changes):
    """All pairs, with the frames' numbers."""
    options = TracksOptions(output=tmp_path, **changes)
    follower, tracker = HeadFollower(BrightEmbedder(), options.rim), PointTracker(options)
    found = []
    for number, image in enumerate(pictures):
        tracker.advance(image, follower(str(number), image))
        found += [(int(p.first.name), int(p.second.name), p) for p in tracker.pairs()]
    return found


def pixels(pair):
    return pair.first.to_picture(pair.points[:, 0]), pair.second.to_picture(pair.points[:, 1])


def test_points_follow_the_known_motion(tmp_path):
    found = follow(frames(9), tmp_path)
    assert {second - first for first, second, _ in found} == set(range(1, 9))
    for first, second, pair in found:
        a, b = pixels(pair)
        off = np.linalg.norm(to_first(a, first) - to_first(b, second), axis=1)
        assert len(off) >= 300
        assert np.median(off) < 0.3
        assert np.percentile(off, 95) < 1.0
        assert (pair.errors <= 1.0).all()


def test_points_lie_on_the_head_in_both_pictures(tmp_path):
    for first, second, pair in follow(frames(4), tmp_path, rim=4):
        for frame, ends in zip((first, second), pixels(pair), strict=True):
            radius = np.linalg.norm(to_first(ends, frame) - (120, 120), axis=1)
            assert radius.max() < 80 - 1.5


def test_points_that_a_patch_covers_are_lost(tmp_path):
    n_joined, n_could = 0, 0
    for first, second, pair in follow(covered_frames(12), tmp_path):
        a, b = pixels(pair)
        still = ~under_patch(a, first, -4)
        covered = under_patch(a, second, 4)
        # A point at rest below the patch cannot be seen: whoever claims it is wrong.
        n_joined += int((still & covered).sum())
        n_could += len(a)
        rest = still & ~under_patch(a, second, -6)
        off = np.linalg.norm(a - b, axis=1)[rest]
        assert np.percentile(off, 99) < 0.5
    assert n_could > 10_000
    assert n_joined < 1e-3 * n_could


def test_without_checks_the_covered_points_would_stay(tmp_path):
    """The patch is a fair trap: it is the bounds that keep the points out."""
    loose = {"max_step_error": 1e3, "max_error": 1e3}
    n_joined = 0
    for first, second, pair in follow(covered_frames(12), tmp_path, **loose):
        a, _ = pixels(pair)
        n_joined += int((~under_patch(a, first, -4) & under_patch(a, second, 4)).sum())
    assert n_joined > 500


def test_new_points_start_where_the_patch_was(tmp_path):
    pictures = covered_frames(12)
    uncovered = [
        under_patch(pixels(pair)[0], 0, 6).sum()
        for first, _, pair in follow(pictures, tmp_path)
        if first == 8
    ]
    assert min(uncovered) > 20


def test_points_end_where_no_head_is(tmp_path):
    pictures = frames(6)
    pictures[3] = np.zeros_like(pictures[3])
    pairs = {(first, second) for first, second, _ in follow(pictures, tmp_path)}
    assert pairs == {(0, 1), (0, 2), (1, 2), (4, 5)}


def test_texture_can_be_asked_for(tmp_path):
    pictures = frames(2)
    for picture in pictures:
        picture[:, :110][picture[:, :110].max(axis=2) > 0] = 150
    ((_, _, everywhere),) = follow(pictures, tmp_path)
    ((_, _, textured),) = follow(pictures, tmp_path, min_texture=3.0)
    assert (pixels(everywhere)[0][:, 0] < 100).sum() > 50
    assert (pixels(textured)[0][:, 0] < 100).sum() == 0


def test_the_follower_searches_once(tmp_path):
    embedder = BrightEmbedder()
    follower = HeadFollower(embedder, 3)
    heads = [follower(str(number), image) for number, image in enumerate(frames(6))]
    assert embedder.n_searches == 1
    assert all(head is not None for head in heads)


def test_the_follower_searches_again_after_a_jump(tmp_path):
    embedder = BrightEmbedder()
    follower = HeadFollower(embedder, 3)
    first = frames(1)[0][40:200, 40:200]
    left, right = (np.zeros((200, 500, 3), np.uint8) for _ in range(2))
    left[20:180, 10:170] = right[20:180, 330:490] = first
    heads = [follower("a", left), follower("b", right)]
    assert embedder.n_searches == 2
    assert heads[1].square.center == pytest.approx((410, 100), abs=2)


@pytest.mark.parametrize("gap", [1, 3])
def test_no_pair_is_wider_than_the_gap(tmp_path, gap):
    found = follow(frames(5), tmp_path, max_gap=gap)
    assert max(second - first for first, second, _ in found) == gap
