"""Landmarks in captures and photographs, on a ball that wears the face's landmarks."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from calib.capture import CaptureError
from mvs.canonical.landmarks import landmark_positions
from mvs.evaluation import landmarks
from mvs.evaluation.landmarks import capture_landmarks, photo_landmarks, read_pts
from tests.evaluation.captures import CUBE_PER_METRE, RADIUS, SIZE, setting, write_ball
from tests.evaluation.maps import ball_map, ball_views
from tests.shared import HEADS

MOTION = np.array([[0.0, 0, 1, 0.2], [0, 1, 0, -1], [-1, 0, 0, 3], [0, 0, 0, 1]])
SCENE = setting(3, motion=MOTION, scale=10.0)
TURN = 0.05


def ball_points():
    """The face's landmarks pushed onto the ball, metres beside its centre."""
    out = landmark_positions().astype(np.float64) - 0.5
    return RADIUS * out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def on_the_ball(monkeypatch):
    places = (0.5 + ball_points() * CUBE_PER_METRE).astype(np.float32)
    monkeypatch.setattr(landmarks, "landmark_positions", lambda: places)


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ball")
    capture = write_ball(folder, SCENE)
    positions = SCENE.place(ball_points())
    views = {}
    for view in capture.views:
        towards = view.camera.center - positions
        out = positions - SCENE.place(np.zeros((1, 3)))
        visible = (towards * out).sum(axis=1) > 0
        views[view.name] = {"uv": [], "visible": visible.astype(int).tolist()}
    content = {"names": "68", "xyz": positions.tolist(), "views": views}
    (folder / "gt" / "landmarks.json").write_text(json.dumps(content))
    return capture


def measure(capture, embedded):
    return capture_landmarks(capture, embedded.cameras, embedded.cube_maps)


def test_exact_maps_have_no_error(ball):
    result = measure(ball, ball_views(ball, SCENE))
    assert [round(view.yaw_deg) for view in result.views] == [-60, 0, 60]
    assert result.nme < 0.002
    assert result.nme == result.views[1].nme  # the others are farther than 45 degrees
    for view in result.views:
        assert view.found == 1
        assert view.nme < 0.02
        assert view.seen_as_visible > 0.9
    assert result.views[1].n_visible > result.views[0].n_visible > 10


def test_turned_maps_are_off_by_the_turn(ball):
    result = measure(ball, ball_views(ball, SCENE, TURN))
    eyes = ball_points()[[36, 45]]
    expected = TURN * RADIUS / np.linalg.norm(eyes[0] - eyes[1])
    assert 0.6 * expected < result.nme < 1.1 * expected


def test_hidden_landmarks_do_not_count(ball, tmp_path):
    truth = json.loads((ball.path / "gt" / "landmarks.json").read_text())
    for view in truth["views"].values():
        view["visible"] = [0] * 68
    name = ball.views[1].name
    truth["views"][name]["visible"][30] = 1
    path = tmp_path / "few.json"
    path.write_text(json.dumps(truth))
    embedded = ball_views(ball, SCENE)
    result = capture_landmarks(ball, embedded.cameras, embedded.cube_maps, path)
    assert [view.n_visible for view in result.views] == [0, 1, 0]
    assert np.isnan(result.views[0].nme)
    assert result.nme < 0.002


def test_views_without_a_head_are_told(ball):
    embedded = ball_views(ball, SCENE)
    for cube_map in embedded.cube_maps:
        cube_map.mask[:] = False
    result = measure(ball, embedded)
    assert {view.found for view in result.views} == {0.0}
    assert np.isnan(result.nme)


def test_captures_without_landmarks_give_none(ball, tmp_path):
    embedded = ball_views(ball, SCENE)
    nowhere = tmp_path / "landmarks.json"
    assert capture_landmarks(ball, embedded.cameras, embedded.cube_maps, nowhere) is None
    assert measure(replace(ball, path=tmp_path), embedded) is None


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"xyz": []}',
        '{"xyz": [[0, 0, 0]], "views": {}}',
        '{"xyz": "no", "views": {}}',
        '{"xyz": %s, "views": {"0.png": {"visible": [1]}}}' % ([[0, 0, 0]] * 68),
    ],
)
def test_damaged_truth_is_refused(ball, tmp_path, content):
    path = tmp_path / "landmarks.json"
    path.write_text(content)
    embedded = ball_views(ball, SCENE)
    with pytest.raises(CaptureError, match="landmarks"):
        capture_landmarks(ball, embedded.cameras, embedded.cube_maps, path)


def test_the_number_of_views_must_agree(ball):
    embedded = ball_views(ball, SCENE)
    with pytest.raises(ValueError, match="one entry per view"):
        capture_landmarks(ball, embedded.cameras[:1], embedded.cube_maps)


class BallEmbedder:
    """Sees the ball in every picture; remembers what it was asked."""

    name = "ball"

    def __init__(self, turn=0.0, *, wants_distorted=False, blind=False):
        self.turn, self.wants_distorted, self.blind = turn, wants_distorted, blind
        self.regions = []

    def find_head(self, image, name=None):
        raise AssertionError("the labels say where the face is")

    def embed(self, image, region=None, name=None):
        assert image.shape == (SIZE, SIZE, 3)
        self.regions.append(region)
        cube_map = ball_map(setting(3).cameras[1], setting(3), self.turn)
        if self.blind:
            cube_map.mask[:] = False
        return cube_map


def write_pts(path, points, n=68, version=1):
    rows = "".join(f"{x:.3f} {y:.3f}\n" for x, y in points)
    path.write_text(f"version: {version}\nn_points: {n}\n{{\n{rows}}}\n")


@pytest.fixture
def photos(tmp_path):
    pixels = setting(3).cameras[1].project(ball_points())[0]
    for name in ("b.jpg", "a.png", "unlabelled.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((SIZE, SIZE, 3), np.uint8))
    for name in ("a.pts", "b.pts"):
        write_pts(tmp_path / name, pixels - 0.5)
    return tmp_path, pixels


def test_exact_maps_meet_the_labels(photos):
    calls = []
    embedder = BallEmbedder()
    result = photo_landmarks(photos[0], embedder, lambda: calls.append(1))
    assert [photo.name for photo in result] == ["a.png", "b.jpg"]
    assert len(calls) == 2
    for photo in result:
        assert photo.found
        assert photo.nme < 0.003
        assert photo.nme_inner < 0.003
    (square, _), pixels = embedder.regions, photos[1]
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    assert (np.abs(pixels - square.center) < square.side / 2).all()
    assert square.side == pytest.approx(2 * (high - low).max(), rel=1e-3)


def test_labels_may_count_pixels_from_one(photos):
    folder, pixels = photos
    eyes = np.linalg.norm(pixels[36] - pixels[45])
    (photo, _) = photo_landmarks(folder, BallEmbedder(), first_pixel=1.0)
    assert photo.nme == pytest.approx(np.sqrt(2) / eyes, rel=0.05)
    for name in ("a.pts", "b.pts"):
        write_pts(folder / name, pixels + 0.5)
    assert photo_landmarks(folder, BallEmbedder(), first_pixel=1.0)[0].nme < 0.003


def test_the_inner_landmarks_are_not_the_jaw(photos):
    folder, pixels = photos
    moved = pixels - 0.5
    moved[:17] += [3.0, 0.0]
    eyes = np.linalg.norm(pixels[36] - pixels[45])
    write_pts(folder / "a.pts", moved)
    (photo, _) = photo_landmarks(folder, BallEmbedder())
    assert photo.nme_inner < 0.003
    assert photo.nme == pytest.approx(17 / 68 * 3 / eyes, rel=0.05)


def test_pictures_without_a_head_are_not_found(photos):
    (photo, _) = photo_landmarks(photos[0], BallEmbedder(blind=True))
    assert not photo.found
    assert np.isnan([photo.nme, photo.nme_inner]).all()


def test_embedders_of_whole_pictures_get_whole_pictures(photos):
    embedder = BallEmbedder(wants_distorted=True)
    assert photo_landmarks(photos[0], embedder)[0].nme < 0.003
    assert embedder.regions == [None, None]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not version 1 with 68 points"),
        ("version: 1\nn_points: 5\n{\n1 2\n}\n", "not version 1 with 68 points"),
        ("version: 2\nn_points: 68\n{\n1 2\n}\n", "not version 1 with 68 points"),
        ("version: 1\nn_points: 68\n1 2\n", "not in braces"),
        ("version: 1\nn_points: 68\n{\n1 2\n}\n", "holds 1 points"),
        ("version: 1\nn_points: 68\n{\n" + "1 x\n" * 68 + "}\n", "not two numbers"),
        ("version: 1\nn_points: 68\n{\n" + "1\n1 2\n" * 34 + "}\n", "not two numbers"),
        ("version: 1\nn_points: 68\n{\n" + "1 2 3\n" * 68 + "}\n", "holds 68 points"),
        ("version: 1\nn_points: 68\n{\n" + "1 nan\n" * 68 + "}\n", "numbers that are not"),
        ("\udcff", "not readable"),
    ],
)
def test_damaged_labels_are_refused_in_one_line(photos, content, reason):
    path = photos[0] / "a.pts"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=reason) as caught:
        photo_landmarks(photos[0], BallEmbedder())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "; give a file" in str(caught.value)


def test_spaces_and_closed_braces_do_not_matter(tmp_path):
    path = tmp_path / "a.pts"
    rows = "".join(f"  {k} \t{2 * k}.5\r\n" for k in range(68))
    path.write_text(f"version:1\r\nn_points:  68\r\n{{\r\n{rows}}}")
    np.testing.assert_array_equal(read_pts(path)[3], [3, 6.5])


def test_folders_without_labels_and_unreadable_pictures(tmp_path, photos):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"no picture with a \.pts file"):
        photo_landmarks(empty, BallEmbedder())
    (photos[0] / "a.png").write_bytes(b"no picture")
    with pytest.raises(CaptureError, match="not a readable picture"):
        photo_landmarks(photos[0], BallEmbedder())


@pytest.mark.skipif(not (HEADS / "A").is_dir(), reason="needs the captures with truth")
def test_the_shipped_network_finds_the_landmarks_of_an_unseen_head(monkeypatch):
    from calib.formats import read_capture
    from mvs.network.embedders import load_embedder
    from mvs.stages.embed import embed_views

    monkeypatch.setattr(landmarks, "landmark_positions", landmark_positions)
    capture = read_capture(HEADS / "A")
    front = ("03.png", "04.png")
    few = replace(capture, views=tuple(view for view in capture.views if view.name in front))
    embedded = embed_views(few.views, load_embedder("compact"))
    assert capture_landmarks(few, embedded.cameras, embedded.cube_maps).nme < 0.035
