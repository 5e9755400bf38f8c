"""Registered frames as one moving mesh: read, smoothed, written."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calib.capture import CaptureError
from calib.files import replacing
from mvs.batch.points import Sequence, moving_mesh, read_sequence, smooth, write_plys
from mvs.canonical.template import load_template
from mvs.cli.main import run
from mvs.stages.ply import read_properties, write_properties


def parabola(numbers):
    """(T, 4, 3) points at even acceleration, each another."""
    rng = np.random.default_rng(1)
    a, b, c = rng.normal(size=(3, 4, 3))
    time = np.array(numbers, float)[:, None, None]
    return a + b * time + 0.1 * c * time**2


def sequence_of(numbers, points):
    n = points.shape[1]
    faces = np.array([[0, 1, 2], [1, 2, 3]], np.int32)
    sure = np.ones(points.shape[:2], np.float32)
    return Sequence(tuple(numbers), points, sure, np.zeros((n, 3), np.float32), faces)


def test_even_acceleration_is_left_as_it_is_and_noise_is_not():
    numbers = [*range(10), *range(20, 29)]
    exact = parabola(numbers)
    np.testing.assert_allclose(smooth(sequence_of(numbers, exact), 5).points, exact, atol=1e-10)
    noise = np.random.default_rng(2).normal(size=(400, 50, 3))
    kept = smooth(sequence_of(range(400), noise), 5).points[2:-2]
    # The middle weight of the five, (17, 12, -3) / 35, is the variance that is left.
    assert abs(kept.var() - 17 / 35) < 0.01
    assert smooth(sequence_of(range(400), noise), 1).points.tobytes() == noise.tobytes()


def test_gaps_are_not_smoothed_across():
    numbers = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    points = np.where(np.array(numbers)[:, None, None] < 5, 0.0, 1.0) * np.ones((1, 4, 3))
    np.testing.assert_allclose(smooth(sequence_of(numbers, points), 5).points, points, atol=1e-12)
    short = sequence_of([0, 1], parabola([0, 1]))
    assert smooth(short, 5).points.tobytes() == short.points.tobytes()
    with pytest.raises(ValueError, match="odd"):
        smooth(short, 4)


@pytest.fixture
def result(tmp_path):
    """What ``mvs batch --register`` leaves of the template on the move; one frame without."""
    template = load_template()
    for number in (3, 4, 6):
        folder = tmp_path / "frames" / f"{number:06d}"
        folder.mkdir(parents=True)
        points = template.coords.astype(np.float64) + np.array([0.01 * number, 0, 0])
        columns = {name: points[:, k] for k, name in enumerate("xyz")}
        columns |= {name: template.coords[:, k] for k, name in enumerate("uvw")}
        columns["confidence"] = np.full(len(points), 0.5, np.float32)
        with replacing(folder / "registered.ply") as stream:
            write_properties(stream, columns, template.faces)
    (tmp_path / "frames" / "000005").mkdir()
    (tmp_path / "batch.json").write_text(json.dumps({"unit": "m"}))
    return tmp_path


def test_usd_holds_the_points_of_every_frame(result):
    Usd = pytest.importorskip("pxr.Usd")
    UsdGeom = pytest.importorskip("pxr.UsdGeom")
    path = result / "head.usdc"
    assert run(["batch", "export", str(result), "--output", str(path), "--fps", "30"]) == 0
    stage = Usd.Stage.Open(str(path))
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (3, 6)
    assert stage.GetTimeCodesPerSecond() == 30
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/head/mesh"))
    assert mesh.GetPointsAttr().GetTimeSamples() == [3, 4, 6]
    template = load_template()
    faces = np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    np.testing.assert_array_equal(faces, template.faces)
    for number in (3, 4, 6):
        points = np.array(mesh.GetPointsAttr().Get(number))
        np.testing.assert_allclose(
            points, template.coords + np.array([0.01 * number, 0, 0]), atol=1e-6
        )
        low, high = np.array(mesh.GetExtentAttr().Get(number))
        np.testing.assert_allclose(low, points.min(axis=0))
        np.testing.assert_allclose(high, points.max(axis=0))
    st = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st")
    np.testing.assert_allclose(np.array(st.Get()), template.atlas, atol=1e-7)


def test_a_ply_a_frame(result):
    sequence, warnings = read_sequence(result)
    assert warnings == ("1 frames are not registered: 000005",)
    paths = write_plys(result / "plys", sequence)
    assert [path.name for path in paths] == ["000003.ply", "000004.ply", "000006.ply"]
    vertex, faces = read_properties(paths[1])
    np.testing.assert_allclose(vertex["x"], sequence.points[1, :, 0])
    np.testing.assert_array_equal(faces, sequence.faces)
    assert moving_mesh(sequence, result, 24.0).up == "y"


@pytest.mark.parametrize(
    ("turn", "up", "is_kept"),
    [
        (np.eye(3), "y", True),
        (np.eye(3)[[2, 0, 1]], "z", True),
        # COLMAP's frames are upside down as often as not.
        (np.diag([1.0, -1.0, -1.0]), "y", False),
        (np.eye(3)[[1, 2, 0]], "y", False),
    ],
)
def test_a_head_stands_upright_in_usd(result, turn, up, is_kept):
    sequence, _ = read_sequence(result)
    turned = replace(sequence, points=sequence.points @ turn.T)
    found = moving_mesh(turned, result, 24.0)
    assert found.up == up
    heights = found.points[..., "xyz".index(up)]
    np.testing.assert_allclose(heights, sequence.points[..., 1], atol=1e-12)
    assert np.array_equal(found.points, turned.points) == is_kept
    lengths = [np.linalg.norm(np.diff(p, axis=1), axis=2) for p in (found.points, turned.points)]
    np.testing.assert_allclose(*lengths, atol=1e-12)


def test_what_cannot_be_exported_is_one_line(result, tmp_path, capfd):
    assert run(["batch", "export", str(result), "--output", str(tmp_path / "x.abc")]) == 2
    assert "one of .usd, .usda, .usdc" in capfd.readouterr().err
    with pytest.raises(CaptureError, match="run mvs batch --register"):
        read_sequence(tmp_path / "nothing")
    path = result / "frames" / "000004" / "registered.ply"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CaptureError, match="damaged"):
        read_sequence(result)
