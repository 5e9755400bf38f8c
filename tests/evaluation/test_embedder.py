"""The evaluation of embedders, with embedders whose errors are known exactly."""

import json

import numpy as np
import pytest

from mvs.canonical.cube import cube_from_cm
from mvs.cli import main
from mvs.evaluation.embedder import (
    EmbedderEvaluationOptions,
    evaluate_embedder,
    sparsification_error,
)
from mvs.evaluation.parts import select_part
from mvs.evaluation.truth import SurfacePoints
from tests.evaluation.ball_embedder import SCENE, BallEmbedder, write_maps
from tests.evaluation.captures import RADIUS, SIZE, setting, write_ball

FEW = EmbedderEvaluationOptions(n_points=3000)


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    return write_ball(tmp_path_factory.mktemp("ball"), SCENE)


def test_exact_maps_have_no_error(ball):
    result = evaluate_embedder(ball, BallEmbedder(), FEW)
    assert {pair.part for pair in result.pairs} == {"face", "head_neck"}
    # The ball's back half ("head_neck") is seen at grazing angles only.
    for pair in [pair for pair in result.pairs if pair.part == "face"]:
        assert pair.epe_median < 0.1  # of 512
        assert pair.found > 0.95
        assert min(pair.pck) > (0.95 if pair.angle_deg[1] <= 60 else 0.9)  # grazing
    assert result.cube_error_mm["face"] < 0.1


def test_the_summary_is_the_pairs_up_to_45_degrees(ball):
    """On the ball, 40 degrees between neighbours: the summary is that one class."""
    result = evaluate_embedder(ball, BallEmbedder((0.0, 0.06, 0.0, 0.06)), FEW)
    near = [p for p in result.pairs if p.angle_deg[1] <= 45]
    assert result.summary.angle_deg == (0.0, 45.0)
    (face,) = (p for p in near if p.part == "face")
    # The neck below the ball's face adds points.
    assert face.n <= result.summary.n <= sum(p.n for p in near)
    assert result.summary.epe_median == pytest.approx(face.epe_median, rel=0.2)


def test_finer_parts_do_not_change_what_the_others_say(ball):
    both = evaluate_embedder(
        ball, BallEmbedder(), EmbedderEvaluationOptions(("face", "ear"), n_points=3000)
    )
    alone = evaluate_embedder(
        ball, BallEmbedder(), EmbedderEvaluationOptions(("face",), n_points=3000)
    )
    assert tuple(p for p in both.pairs if p.part == "face") == alone.pairs
    assert any(p.part == "ear" for p in both.pairs)
    assert both.summary == alone.summary


def test_finer_parts_share_out_the_skin():
    """Places on the template, in centimetres, that anyone can name."""
    places = {
        "face_front": [(0, 1, 13), (5, 0, 8), (0, -7, 10.4), (0, 8, 10)],
        "ear": [(8.5, 1, 0), (-8.5, 1, 0)],
        "scalp": [(0, 14, 0), (0, 5, -9)],
        "neck": [(0, -12, 4), (5, -10, 0), (0, -9, -7)],
    }
    for name, positions in places.items():
        n = len(positions)
        coords = cube_from_cm(np.array(positions, np.float32))
        points = SurfacePoints(np.zeros((n, 3)), coords, np.arange(n, dtype=np.int32) % 2)
        for other in places:
            assert select_part(points, other).tolist() == [other == name] * n, (name, other)
        eyes = SurfacePoints(np.zeros((n, 3)), coords, np.full(n, 2, np.int32))
        assert not select_part(eyes, name).any()


def test_what_all_views_get_wrong_alike_is_found_in_the_cube_only(ball):
    turn = 0.05
    result = evaluate_embedder(ball, BallEmbedder((turn,) * 4), FEW)
    assert max(pair.epe_median for pair in result.pairs if pair.part == "face") < 0.2
    # A place at distance r from the axis moves by 2 r sin(turn / 2); on the front r is near R.
    assert 0.6 < result.cube_error_mm["face"] / (1000 * 2 * RADIUS * np.sin(turn / 2)) < 1.0


def test_what_views_get_wrong_apart_is_found_in_pixels(ball):
    """A view turned by an angle sees every point beside its place by radius times angle."""
    turn = 0.06
    result = evaluate_embedder(ball, BallEmbedder((0.0, turn, 0.0, turn)), FEW)
    focal, distance = 1.9 * 512, 0.5
    expected = turn * RADIUS * focal / (distance - RADIUS)
    (near,) = (p for p in result.pairs if p.part == "face" and p.angle_deg == (30.0, 45.0))
    assert 0.5 * expected < near.epe_median < 1.1 * expected
    head = 2 * RADIUS * focal / distance
    shares = [np.clip(bound * head / near.epe_median, 0, 2) for bound in FEW.pck]
    assert near.pck[0] < 0.3
    assert near.pck[2] > 0.9
    assert shares[0] < 1 < shares[2]


def test_points_that_the_mask_leaves_out_are_not_found(ball):
    whole = evaluate_embedder(ball, BallEmbedder(), FEW)
    less = evaluate_embedder(ball, BallEmbedder(shrink=12), FEW)
    for one, two in zip(whole.pairs, less.pairs, strict=True):
        assert one.n == two.n
        assert two.found < one.found - 0.01
        assert two.pck[2] <= two.found


def test_the_embedder_does_not_see_the_capture_s_masks(tmp_path):
    """Half of the picture is masked out; the predicted ball is whole: an IoU of a half."""
    half = np.zeros((SIZE, SIZE), bool)
    half[:, : SIZE // 2 + 4] = True
    masks = []
    for camera in SCENE.cameras:
        y, x = np.mgrid[:SIZE, :SIZE] + 0.5
        rays = camera.unproject(np.column_stack([x.ravel(), y.ravel()]))
        off = np.linalg.norm(np.cross(camera.center, rays), axis=1)
        masks.append((off < RADIUS).reshape(SIZE, SIZE) & half)
    capture = write_ball(tmp_path, setting(4, masks=tuple(masks)))
    result = evaluate_embedder(capture, BallEmbedder(), FEW)
    assert result.mask_iou == pytest.approx(0.5, abs=0.03)


def test_sparsification_against_a_slow_reference():
    rng = np.random.default_rng(0)
    errors, confidence = rng.random(40), rng.random(40)
    total = 0.0
    for dropped in range(40):
        by_confidence = sorted(range(40), key=lambda k: confidence[k])[dropped:]
        by_error = sorted(range(40), key=lambda k: -errors[k])[dropped:]
        total += errors[by_confidence].mean() - errors[by_error].mean()
    expected = total / 40 / errors.mean()
    assert sparsification_error(errors, confidence) == pytest.approx(expected, rel=1e-9)
    assert sparsification_error(errors, -errors) == pytest.approx(0, abs=1e-12)
    assert sparsification_error(errors, errors) > expected


def test_the_command_prints_and_writes_figures(ball, tmp_path, capfd):
    embedder = BallEmbedder()
    write_maps(tmp_path / "maps", ball, embedder)
    words = ["--embedder", "precomputed", "--cube-maps", str(tmp_path / "maps")]
    path = tmp_path / "figures.json"
    code = main.run(["evaluate", "embedder", str(ball.path), *words, "--json", str(path)])
    out, _ = capfd.readouterr()
    assert code == 0
    assert "PCK@0.05" in out
    figures = json.loads(path.read_text())
    assert figures["mask_iou"] is None  # the capture has no masks
    assert figures["cube_error_mm"]["face"] < 0.5


@pytest.mark.parametrize(
    "bad", [{"parts": ("nose",)}, {"parts": ()}, {"n_points": 0}, {"angles_deg": (30.0, 15.0)}]
)
def test_impossible_options_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        EmbedderEvaluationOptions(**bad)
