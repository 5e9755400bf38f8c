import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.capture import CaptureError
from calib.formats import read_capture
from mvs.cli.main import run
from mvs.evaluation.reconstruction import EvaluationOptions, evaluate
from mvs.evaluation.truth import Truth
from tests.evaluation.captures import (
    CUBE_PER_METRE,
    RADIUS,
    ball_mesh,
    blobs,
    setting,
    write_ball,
    write_mesh,
    write_points,
)

SAMPLE = Path(__file__).parents[2] / "data_samples" / "head"
FEW = EvaluationOptions(n_samples=30_000)
MM = 1e-3


def normals_of(truth, points):
    """Outward unit normals of the true triangles at points on them."""
    found = truth._scene.compute_closest_points(np.float32(points))
    faces = found["primitive_ids"].numpy().astype(np.int64)
    a, b, c = (truth.vertices[truth.faces[faces, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def capture():
    return read_capture(SAMPLE)


@pytest.fixture(scope="module")
def truth(capture):
    return Truth(capture)


@pytest.fixture(scope="module")
def skin(truth):
    """Points on face, head and neck that two views and more see."""
    samples = truth.sample(150_000, seed=5)
    kept = (samples.parts < 2) & (truth.count_views(samples.positions) >= 2)
    return samples.positions[kept], samples.coords[kept], samples.parts[kept]


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    return write_ball(tmp_path_factory.mktemp("ball"), setting())


def evaluate_points(capture, folder, points, options=FEW, **columns):
    path = write_points(folder / "points.ply", points, **columns)
    return evaluate(capture, [path], options)["points.ply"]


def score_at(evaluation, threshold):
    return next(s for s in evaluation.scores if s.threshold_mm == threshold)


def columns_of(coords):
    return dict(zip("uvw", coords.T, strict=True))


def test_the_true_surface_is_perfect(capture, truth, tmp_path):
    """As a mesh, so that it is there between its samples too."""
    mesh = write_mesh(
        tmp_path / "mesh.ply", truth.vertices, truth.faces, **columns_of(truth._coords)
    )
    result = evaluate(capture, [mesh], FEW)["mesh.ply"]
    assert result.accuracy.mean < 1e-4
    assert result.completeness.mean < 1e-3
    assert all(s.precision == s.recall == s.f == 1 for s in result.scores)
    assert result.cube_error_mm < 1e-3
    assert result.accuracy.n == pytest.approx(result.completeness.n, rel=0.05)
    for part in ("face", "head_neck"):
        for spread in result.by_part[part]:
            assert spread.p90 < 1e-3
            assert spread.n > 500


def test_its_samples_are_accurate_and_as_complete_as_they_are_dense(capture, truth, skin, tmp_path):
    points, coords, _ = skin
    result = evaluate_points(capture, tmp_path, points, **columns_of(coords))
    assert result.accuracy.p90 < 1e-4
    assert result.cube_error_mm < 1e-3
    assert all(s.precision == 1 for s in result.scores)
    # Points at random, so many per area: how many of them a disc of the threshold's radius holds.
    a, b, c = (truth.vertices[truth.faces[:, k]] for k in range(3))
    area_mm2 = 0.5e6 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    for score in result.scores[:4]:
        expected = 1 - np.exp(-150_000 / area_mm2 * np.pi * score.threshold_mm**2)
        assert score.recall == pytest.approx(expected, abs=0.02)
        f = 2 * score.recall / (1 + score.recall)
        assert score.f == pytest.approx(f)
    assert score_at(result, 2.0).recall > 0.99
    assert score_at(result, 5.0).recall > 0.999


@pytest.mark.parametrize("shift_mm", [1.0, -1.0])
def test_shifted_along_its_normals(capture, truth, skin, tmp_path, shift_mm):
    points = skin[0][::5]
    moved = points + shift_mm * MM * normals_of(truth, points)
    result = evaluate_points(capture, tmp_path, moved)
    # In folds other surface may be nearer.
    assert result.accuracy.median == pytest.approx(1.0, rel=0.02)
    assert result.accuracy.p90 == pytest.approx(1.0, rel=0.02)
    assert result.accuracy.mean == pytest.approx(1.0, rel=0.06)
    assert score_at(result, 0.5).precision < 0.05
    assert score_at(result, 2.0).precision > 0.999
    assert result.completeness.median >= 0.9


@pytest.mark.parametrize("sigma_mm", [0.1, 0.5])
def test_noise_has_the_spread_it_has(capture, skin, tmp_path, sigma_mm):
    points = skin[0][::5]
    rng = np.random.default_rng(0)
    result = evaluate_points(capture, tmp_path, points + rng.normal(0, sigma_mm * MM, points.shape))
    # Across the surface only: the absolute value of a normal variable.
    assert result.accuracy.median == pytest.approx(0.6745 * sigma_mm, rel=0.04)
    assert result.accuracy.mean == pytest.approx(0.798 * sigma_mm, rel=0.05)
    assert result.accuracy.p90 == pytest.approx(1.645 * sigma_mm, rel=0.04)


def test_half_the_points_give_half_the_recall(capture, skin, tmp_path):
    points, _, parts = skin
    whole = evaluate_points(capture, tmp_path, points)
    half = evaluate_points(capture, tmp_path, points[points[:, 0] > 0])
    share = (points[:, 0] > 0).mean()
    for threshold in (0.5, 1.0, 2.0):
        before, after = score_at(whole, threshold), score_at(half, threshold)
        assert after.recall == pytest.approx(share * before.recall, rel=0.06)
        assert after.precision == before.precision == 1
        assert after.f < before.f
    assert half.accuracy.p90 < 1e-4
    assert half.completeness.p90 > 20
    face = evaluate_points(capture, tmp_path, points[parts == 0])
    assert face.by_part["face"][1].median == pytest.approx(
        whole.by_part["face"][1].median, rel=0.05
    )
    assert face.by_part["head_neck"][1].median > 2 * whole.by_part["head_neck"][1].median
    assert face.by_part["face"][0].n > 10 * face.by_part["head_neck"][0].n


def test_points_far_off_lower_precision_only(capture, skin, tmp_path):
    points = skin[0][::10]
    rng = np.random.default_rng(2)
    # Below the pictures, so that no view can see them among hair.
    far = rng.uniform(-0.3, 0.3, (len(points) // 4, 3)) - [0, 0, 3.0]
    clean = evaluate_points(capture, tmp_path, points)
    dirty = evaluate_points(capture, tmp_path, np.concatenate([points, far]))
    assert dirty.accuracy.n == clean.accuracy.n + len(far)
    for before, after in zip(clean.scores, dirty.scores, strict=True):
        assert before.precision == 1
        assert after.precision == pytest.approx(clean.accuracy.n / dirty.accuracy.n)
        assert after.recall == before.recall
    assert dirty.completeness == clean.completeness
    assert dirty.accuracy.mean > 300
    assert dirty.accuracy.median < 1e-3


def test_surface_not_asked_for_does_not_count(capture, truth, skin, tmp_path):
    points, _, parts = skin
    face, neck = points[parts == 0][:4000], points[parts == 1]
    options = EvaluationOptions(parts=("face",), n_samples=30_000)
    alone = evaluate_points(capture, tmp_path, face, options)
    both = evaluate_points(capture, tmp_path, np.concatenate([face, neck]), options)
    assert alone.by_part.keys() == {"face"}
    # A point beside the border may lie on the other side of it.
    assert both.accuracy.n == pytest.approx(alone.accuracy.n, abs=5)
    assert both.completeness.n == alone.completeness.n
    assert both.by_part["face"][0].n == both.accuracy.n
    # But what floats above it does: 6 mm off the neck, 4 mm are still taken for it.
    normals = normals_of(truth, neck)
    above = [neck + height * MM * normals for height in (4.0, 6.0)]
    near, off = (
        evaluate_points(capture, tmp_path, np.concatenate([face, p]), options) for p in above
    )
    assert near.accuracy.n < alone.accuracy.n + 0.3 * len(neck)
    assert off.accuracy.n > alone.accuracy.n + 0.5 * len(neck)
    assert off.scores[0].precision < near.scores[0].precision
    other = EvaluationOptions(parts=("head_neck",), n_samples=30_000)
    asked = evaluate_points(capture, tmp_path, neck, other)
    assert asked.accuracy.n == pytest.approx(len(neck), rel=0.02)
    everything = EvaluationOptions(parts=("face", "head_neck"), n_samples=30_000)
    whole = evaluate_points(capture, tmp_path, neck, everything)
    assert whole.completeness.n == alone.completeness.n + asked.completeness.n


def test_surface_fewer_than_two_views_see_does_not_count(tmp_path):
    """Masks leave the left half to one view alone."""
    left = np.broadcast_to(np.arange(120) < 62, (120, 120))
    scene = setting(3, masks=(np.ones((120, 120), bool), ~left, ~left))
    capture = write_ball(tmp_path / "ball", scene)
    truth = Truth(capture)
    samples = truth.sample(30_000, seed=1).positions
    visible = truth.count_views(samples) >= 2
    assert 0.05 < visible.mean() < 0.5
    result = evaluate_points(capture, tmp_path, samples)
    own = truth.sample(30_000).positions
    assert result.completeness.n == (truth.count_views(own) >= 2).sum()
    # The result's points are their own nearest points, but for rounding at the rims.
    assert result.accuracy.n == pytest.approx(visible.sum(), abs=30)
    hidden = samples[~visible] * 1.04  # 4 mm above what is not asked for
    assert evaluate_points(
        capture, tmp_path, np.concatenate([samples, hidden])
    ).accuracy.n == pytest.approx(result.accuracy.n, abs=60)
    floating = samples[~visible] * 1.06
    assert evaluate_points(
        capture, tmp_path, np.concatenate([samples, floating])
    ).accuracy.n == pytest.approx(result.accuracy.n + len(floating), abs=60)


def test_points_among_hair_do_not_count(tmp_path):
    hair = np.where(blobs(3), 255, 0).astype(np.uint8)
    capture = write_ball(tmp_path / "ball", setting(3, hair=(hair,) * 3))
    truth = Truth(capture)
    # In front of the ball, 8 mm above, where accuracy would be bad.
    samples = truth.sample(4000, seed=1).positions * 1.08
    samples = samples[samples[:, 2] > 0.04]
    among = truth.on_hair(samples)
    assert 50 < among.sum() < len(among) - 50
    result = evaluate_points(capture, tmp_path, samples)
    assert result.accuracy.n == len(samples) - among.sum()
    assert result.accuracy.median == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize("offset_mm", [0.0, 1.0])
def test_a_mesh_is_measured_between_its_vertices(ball, tmp_path, offset_mm):
    """Large triangles on the ball: the vertices alone are accurate, but not complete."""
    points, faces = ball_mesh(16, 24)
    points = points * (1 + offset_mm * MM / RADIUS)
    mesh = write_mesh(tmp_path / "mesh.ply", points, faces)
    cloud = write_points(tmp_path / "cloud.ply", points)
    found = evaluate(ball, [mesh, cloud], FEW)
    assert list(found) == ["mesh.ply", "cloud.ply"]
    mesh, cloud = found.values()
    # Chords of this length lie up to 1.7 mm below the ball.
    below = RADIUS / MM * (1 - np.cos(np.pi / 24)) + RADIUS / MM * (1 - np.cos(np.pi / 32))
    assert cloud.accuracy.p90 == pytest.approx(offset_mm, abs=0.03)
    assert cloud.completeness.median > 6
    assert mesh.completeness.mean < below
    assert score_at(mesh, 2.0).recall == 1
    assert score_at(mesh, 2.0).precision > 0.99
    # Samples all over the visible part, whatever the number of vertices.
    assert mesh.accuracy.n > 20 * cloud.accuracy.n
    mean = mesh.accuracy.mean
    assert mean == pytest.approx(mesh.completeness.mean, rel=0.1)


def test_distances_to_a_larger_ball_are_exact(ball, tmp_path):
    points, faces = ball_mesh()
    mesh = write_mesh(tmp_path / "mesh.ply", points * 1.013, faces)
    result = evaluate(ball, [mesh], FEW)["mesh.ply"]
    for spread in (result.accuracy, result.completeness):
        np.testing.assert_allclose([spread.mean, spread.median, spread.p90], 1.3, atol=0.01)
    precise = [s.precision for s in result.scores]
    assert precise == [s.recall for s in result.scores] == [0, 0, 0, 1, 1]
    assert [s.f for s in result.scores] == [0, 0, 0, 1, 1]
    assert np.isnan(result.cube_error_mm)


def test_cube_error_is_in_millimetres_of_the_neutral_head(ball, tmp_path):
    points = Truth(ball).sample(3000, seed=2).positions
    coords = 0.5 + points * CUBE_PER_METRE
    wrong = coords + np.array([0.6, 0.0, -0.8]) * 2.5 / 375.7
    right, off = (evaluate_points(ball, tmp_path, points, **columns_of(c)) for c in (coords, wrong))
    assert right.cube_error_mm < 1e-3
    assert off.cube_error_mm == pytest.approx(2.5, abs=1e-3)
    # A mesh carries them between its vertices.
    vertices, faces = ball_mesh(60, 90)
    uvw = (0.5 + vertices * CUBE_PER_METRE + np.array([0, 0.01, 0])).astype(np.float32)
    mesh = write_mesh(tmp_path / "mesh.ply", vertices, faces, **columns_of(uvw))
    found = evaluate(ball, [mesh], FEW)["mesh.ply"].cube_error_mm
    assert found == pytest.approx(3.757, abs=0.05)


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1000.0), ("cm", 100.0), ("m", 1.0)])
def test_unit_and_frame_of_the_world_do_not_matter(ball, tmp_path, unit, scale):
    """Turned, moved and scaled, with its result, a capture is evaluated alike."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix()
    motion[:3, 3] = [1.5, -2.0, 0.7]
    scene = setting(scale=scale, motion=motion)
    capture = write_ball(tmp_path / "ball", scene)
    rng = np.random.default_rng(3)
    points = Truth(ball).sample(4000, seed=2).positions
    points = points + rng.normal(0, 0.6 * MM, points.shape)
    expected = evaluate_points(ball, tmp_path, points)
    options = EvaluationOptions(unit=unit, n_samples=FEW.n_samples)
    found = evaluate_points(capture, tmp_path, scene.place(points), options)
    assert found.accuracy.n == pytest.approx(expected.accuracy.n, abs=3)
    assert found.completeness.n == pytest.approx(expected.completeness.n, abs=20)
    for name in ("accuracy", "completeness"):
        for figure in ("mean", "median", "p90"):
            value = getattr(getattr(expected, name), figure)
            assert getattr(getattr(found, name), figure) == pytest.approx(value, rel=5e-3)
    for one, other in zip(expected.scores, found.scores, strict=True):
        assert one.precision == pytest.approx(other.precision, abs=2e-3)
        assert one.recall == pytest.approx(other.recall, abs=2e-3)


def test_it_is_repeatable_and_orders_do_not_matter(ball, tmp_path):
    points = Truth(ball).sample(2000, seed=2).positions * 1.004
    uvw = 0.5 + points * CUBE_PER_METRE
    first, again = (evaluate_points(ball, tmp_path, points, **columns_of(uvw)) for _ in range(2))
    assert first == again
    order = np.random.default_rng(0).permutation(len(points))
    shuffled = evaluate_points(ball, tmp_path, points[order], **columns_of(uvw[order]))
    assert shuffled.scores == first.scores
    assert shuffled.completeness == first.completeness
    assert shuffled.cube_error_mm == first.cube_error_mm
    assert shuffled.accuracy.mean == pytest.approx(first.accuracy.mean)
    assert shuffled.accuracy.n == first.accuracy.n


def missing_column(path):
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\n"
        "property float x\nproperty float y\nend_header\n0 0\n"
    )


def cut_off(path):
    write_mesh(path, np.eye(3), np.array([[0, 1, 2]], np.int32))
    path.write_bytes(path.read_bytes().replace(b"element face 1", b"element face 2"))


BROKEN = {
    "absent": lambda _: None,
    "text": lambda path: path.write_text("no cloud"),
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "cut": cut_off,
    "folder": lambda path: path.mkdir(),
    "no points": lambda path: write_points(path, np.zeros((0, 3))),
    "not finite": lambda path: write_points(path, np.array([[0, 0, 0], [np.nan, 0, 0]])),
    "no z": missing_column,
    "faces without area": lambda path: write_mesh(
        path, np.zeros((3, 3)), np.array([[0, 1, 2]], np.int32)
    ),
    "corners out of range": lambda path: write_mesh(
        path, np.eye(3), np.array([[0, 1, 7]], np.int32)
    ),
}


@pytest.mark.parametrize("write", [pytest.param(write, id=name) for name, write in BROKEN.items()])
def test_results_that_cannot_be_read(ball, tmp_path, write):
    path = tmp_path / "result.ply"
    write(path)
    with pytest.raises(CaptureError) as caught:
        evaluate(ball, [path], FEW)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_result_of_which_nothing_counts_has_no_precision(ball, tmp_path):
    back = Truth(ball).sample(2000).positions
    back = back[back[:, 2] < -0.08]  # no view sees the back
    result = evaluate_points(ball, tmp_path, back)
    assert all(s.precision == s.recall == s.f == 0 for s in result.scores)
    assert result.accuracy.median == np.inf
    assert not np.isfinite(result.accuracy.mean)


def test_parts_that_no_two_views_see(ball, tmp_path):
    path = write_points(tmp_path / "points.ply", np.zeros((1, 3)))
    with pytest.raises(CaptureError, match="no two views see"):
        evaluate(ball, [path], EvaluationOptions(parts=("eye",)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"parts": ()}, "parts must be of face"),
        ({"parts": ("nose",)}, "parts must be of face"),
        ({"thresholds_mm": ()}, "thresholds_mm must be positive"),
        ({"thresholds_mm": (1.0, 0.0)}, "thresholds_mm must be positive"),
        ({"thresholds_mm": (-1.0,)}, "thresholds_mm must be positive"),
        ({"unit": "inch"}, "unit must be one of m, cm, mm"),
        ({"thresholds_mm": (float("nan"),)}, "thresholds_mm"),
        ({"n_samples": 0}, "n_samples"),
    ],
)
def test_impossible_options_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        EvaluationOptions(**bad)


def command(*words):
    return run(["evaluate", "reconstruction", *map(str, words)])


def test_the_command_writes_what_was_measured(ball, tmp_path, capsys):
    points, faces = ball_mesh()
    write_mesh(tmp_path / "mesh.ply", points * 1.013, faces)
    write_points(tmp_path / "points.ply", Truth(ball).sample(3000).positions * 1.007)
    report = tmp_path / "report.json"
    words = [ball.path, tmp_path, "--json", report, "--thresholds", "1", "2", "--parts", "face"]
    assert command(*words, "--unit", "m") == 0
    document = json.loads(report.read_text())
    assert list(document) == ["points.ply", "mesh.ply"]
    for name, expected in (("points.ply", 0.7), ("mesh.ply", 1.3)):
        found = document[name]
        assert found["accuracy"]["median"] == pytest.approx(expected, abs=0.01)
        assert [s["threshold_mm"] for s in found["scores"]] == [1, 2]
        assert [s["precision"] for s in found["scores"]] == [float(expected < 1), 1]
        assert list(found["by_part"]) == ["face"]
    shown = capsys.readouterr().out
    assert "against the truth" in shown
    assert "points.ply" in shown
    assert command(ball.path, tmp_path / "mesh.ply", "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_the_command_ends_in_one_line(ball, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    capture = write_ball(tmp_path / "ball", setting())
    cloud = write_points(tmp_path / "points.ply", np.full((1, 3), 0.1))
    (capture.path / "gt" / "mesh.ply").unlink()
    for words, message in (
        ((ball.path, empty), "no result here"),
        ((ball.path, tmp_path / "absent.ply"), "no result here"),
        ((capture.path, cloud), "no ground truth"),
        ((tmp_path / "nowhere", cloud), "no such folder"),
        ((ball.path, cloud, "--parts", "nose"), "parts must be of"),
        ((ball.path, cloud, "--thresholds", "0"), "thresholds_mm must be positive"),
    ):
        assert command(*words) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        assert message in shown.err
