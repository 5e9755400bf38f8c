"""Figures of fits, where they can be known exactly."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.capture import CaptureError
from mvs.canonical.face_regions import FACE, FACE_REGIONS, face_region_of
from mvs.canonical.layouts import load_layout
from mvs.canonical.template import load_template
from mvs.cli import main
from mvs.evaluation.fits import FitEvaluationOptions, evaluate_fit, evaluate_fits
from mvs.stages.ply import write_ply
from mvs.types import PointCloud
from tests.scenes import unit_ball

HEAD_M = 0.3757
TURN = Rotation.from_euler("xyz", [20, -35, 10], True).as_matrix()


def write_mesh(path, vertices, faces, coords, unit="m", part=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    n = len(vertices)
    cloud = PointCloud(
        vertices,
        np.zeros((n, 3), np.float32),
        np.zeros((n, 3), np.uint8),
        coords.astype(np.float32),
        np.ones(n, np.float32),
        np.zeros(n, np.int32),
    )
    more = {} if part is None else {"part": part.astype(np.uint8)}
    with path.open("wb") as stream:
        write_ply(stream, cloud, faces, unit, more)
    return path


def template(path, scale=1.0, turn=None, shift=(0, 0, 0), **more):
    """The shipped head, a metre's share as large as people are."""
    head = load_template()
    vertices = HEAD_M * scale * (head.coords.astype(np.float64) - 0.5)
    if turn is not None:
        vertices = vertices @ turn.T
    return write_mesh(path, vertices + shift, head.faces, head.coords, **more)


def ball(path, radius_mm, lift=(0, 0, 0)):
    """A sphere about the middle of the cube."""
    unit, faces = unit_ball(100, 200)
    vertices = 1e-3 * (radius_mm * unit + lift)
    return write_mesh(path, vertices, faces, 0.5 + 0.25 * unit)


OPTIONS = FitEvaluationOptions(("landmarks", "icp", "icp_scale"), samples=4000)


def test_a_moved_head_scores_nothing(tmp_path):
    truth = template(tmp_path / "truth.ply")
    moved = template(tmp_path / "fit.ply", turn=TURN, shift=(0.1, 2.0, -0.4))
    for one in evaluate_fit(moved, truth, OPTIONS)["posed"].values():
        assert one.face.l2 < 1e-3
        assert one.face.recall == 1
        assert one.face.normal_cosine > 0.999
        assert one.scale == pytest.approx(1, abs=1e-5)
        assert one.landmarks_mm < 1e-3
        assert one.face.n == sum(one.regions[name].n for name in FACE)
        assert all(one.regions[name].l2 < 1e-3 for name in FACE_REGIONS)


def test_scale_is_no_part_of_rigid(tmp_path):
    truth = template(tmp_path / "truth.ply")
    large = template(tmp_path / "fit.ply", scale=1.05, turn=TURN)
    options = FitEvaluationOptions(samples=4000)
    found = evaluate_fit(large, truth, options)["posed"]
    for name in ("landmarks", "icp"):
        assert found[name].face.l1 > 0.5
        assert found[name].scale == 1
    for name in ("landmarks_scale", "icp_scale"):
        assert found[name].face.l2 < 1e-3
        assert found[name].scale == pytest.approx(1 / 1.05, abs=1e-5)


def test_icp_mends_wrong_landmarks(tmp_path):
    """The fit's cube coordinates, and so its landmarks, are off; its shape is right."""
    head = load_template()
    truth = template(tmp_path / "truth.ply")
    wrong = head.coords + 0.02 * np.sin(9 * head.coords[:, [1, 2, 0]])
    vertices = HEAD_M * (head.coords.astype(np.float64) - 0.5) @ TURN.T
    fit = write_mesh(tmp_path / "fit.ply", vertices, head.faces, wrong)
    found = evaluate_fit(fit, truth, OPTIONS)["posed"]
    assert found["landmarks"].face.l1 > 0.3
    assert found["icp"].face.l2 < 0.01


def test_an_offset_sphere_scores_its_offset(tmp_path):
    """Between spheres of 100 and 103 mm there are 3 mm, and their normals are one."""
    truth, fit = ball(tmp_path / "truth.ply", 100.0), ball(tmp_path / "fit.ply", 103.0)
    options = FitEvaluationOptions(("none",), samples=4000)
    face = evaluate_fit(fit, truth, options)["posed"]["none"].face
    assert (face.l1, face.l2, face.median) == pytest.approx((3, 3, 3), abs=0.005)
    assert face.normal_cosine > 0.999
    assert face.recall == 0


def test_recall_is_sharp(tmp_path):
    truth = ball(tmp_path / "truth.ply", 100.0)
    for radius, share in ((102.49, 1), (102.52, 0)):
        fit = ball(tmp_path / "fit.ply", radius)
        options = FitEvaluationOptions(("none",), samples=1000)
        assert evaluate_fit(fit, truth, options)["posed"]["none"].face.recall == share


def test_a_shifted_sphere(tmp_path):
    """The distance to a sphere moved by d along x is |d cos|: its square's mean is d^2 / 3."""
    truth = ball(tmp_path / "truth.ply", 100.0)
    fit = ball(tmp_path / "fit.ply", 100.0, lift=(1.0, 0, 0))
    options = FitEvaluationOptions(("none", "landmarks"), samples=40_000)
    found = evaluate_fit(fit, truth, options)["posed"]
    total = [found["none"].regions[name] for name in FACE_REGIONS]
    n = np.array([one.n for one in total])
    squares = np.array([one.l2**2 if one.n else 0 for one in total])
    assert (n * squares).sum() / n.sum() == pytest.approx(1 / 3, abs=0.01)
    assert found["landmarks"].face.l2 < 1e-3


def test_what_is_not_skin_does_not_count(tmp_path):
    """A second surface far away, of the eyes' part."""
    head = load_template()
    n = len(head.coords)
    vertices = HEAD_M * (head.coords.astype(np.float64) - 0.5)
    both = np.concatenate([vertices, vertices + np.array([0, 0, 0.05])])
    coords = np.concatenate([head.coords, np.full((n, 3), np.nan)])
    part = np.repeat([0, 2], n)
    faces = np.concatenate([head.faces, head.faces + n]).astype(np.int32)
    truth = write_mesh(tmp_path / "truth.ply", both, faces, coords, part=part)
    fit = template(tmp_path / "fit.ply")
    assert evaluate_fit(fit, truth, OPTIONS)["posed"]["landmarks"].face.l2 < 1e-3


def test_regions_by_place():
    named, marks = load_layout("named"), load_layout("68")
    wanted = {
        "forehead_center": "forehead",
        "nose_tip": "nose",
        "chin": "chin",
        "cheek_left": "cheeks",
        "cheek_right": "cheeks",
        "ear_lobe_left": "ears",
        "ear_top_right": "ears",
        "crown": "scalp",
        "back_of_head": "scalp",
        "adam_apple": "neck",
    }
    for name, region in wanted.items():
        place = named.positions[[named.names.index(name)]]
        assert FACE_REGIONS[face_region_of(place)[0]] == region, name
    found = face_region_of(marks.positions)
    for rows, regions in (
        (range(18, 26), ("brows", "forehead")),
        (range(28, 34), ("nose",)),
        (range(36, 48), ("eyes",)),
        (range(48, 68), ("mouth",)),
    ):
        assert {FACE_REGIONS[k] for k in found[list(rows)]} <= set(regions)
    assert face_region_of(np.full((1, 3), np.nan)).tolist() == [255]


def test_units(tmp_path, capsys):
    truth = template(tmp_path / "truth.ply")
    in_cm = template(tmp_path / "fit.ply", scale=100, unit="cm")
    assert evaluate_fit(in_cm, truth, OPTIONS)["posed"]["landmarks"].face.l2 < 1e-3
    with pytest.raises(CaptureError, match="100 times as large"):
        evaluate_fit(in_cm, truth, FitEvaluationOptions(unit="m", samples=10))
    silent = template(tmp_path / "silent.ply", unit=None)
    assert main.run(["evaluate", "fit", str(silent), "--truth", str(truth)]) == 2
    assert "does not say its unit; say it with --unit" in capsys.readouterr().err
    with pytest.raises(ValueError, match="alignments"):
        FitEvaluationOptions(("by eye",))


def test_a_set(tmp_path, capsys):
    """Means count each item the same; what has no fit is told."""
    for name, scale in (("000", 1.0), ("001", 1.02), ("002", 1.0)):
        for geometry in ("mesh", "neutral"):
            template(tmp_path / "set" / name / "gt" / f"{geometry}.ply")
        if name != "002":
            template(tmp_path / "fits" / name / "posed.ply", scale=scale)
            template(tmp_path / "fits" / name / "neutral.ply", turn=TURN)
    found, missing = evaluate_fits(tmp_path / "fits", tmp_path / "set", OPTIONS)
    assert missing == ["002"]
    second = found["001"]["posed"]["landmarks"].face.l1
    assert second > 0.2
    arguments = ["evaluate", "fit", str(tmp_path / "fits"), "--truth", str(tmp_path / "set")]
    arguments += ["--samples", "4000", "--json", str(tmp_path / "figures.json")]
    assert main.run(arguments) == 0
    out, err = capsys.readouterr()
    assert "no fit, and not counted, of 1 items: 002" in err
    assert "neutral by region" in out
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["missing"] == ["002"]
    face = document["mean"]["posed"]["landmarks"]["face"]
    assert face["l1"] == pytest.approx(second / 2, rel=0.05)
    assert document["items"]["001"]["neutral"]["icp"]["face"]["l2"] < 1e-3
    with pytest.raises(CaptureError, match="no fit of any of the 3 items"):
        evaluate_fits(tmp_path / "nothing", tmp_path / "set")


@pytest.mark.parametrize(
    ("text", "says"), [(b"ply?", "not a readable PLY"), (None, "not a readable PLY")]
)
def test_what_is_no_mesh(tmp_path, text, says):
    truth = template(tmp_path / "truth.ply")
    if text is not None:
        (tmp_path / "fit.ply").write_bytes(text)
    with pytest.raises(CaptureError, match=says):
        evaluate_fit(tmp_path / "fit.ply", truth)
