import json

import cv2
import numpy as np
import pytest

from calib.capture import CaptureError
from calib.formats import read_capture
from mvs.kernels.raster import rasterise
from mvs.stages.ply import read_properties
from mvs.synthetic.fits import FitSetOptions, sitter, write_fit_set
from mvs.synthetic.head import EYEBALL_RANGES


@pytest.fixture(scope="module")
def folder(head_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    write_fit_set(options(head_file, folder))
    return folder


def options(head_file, folder):
    return FitSetOptions(head_file, folder, people=2, multi=1, views=3, size=64, supersampling=1)


def test_other_folders_are_not_overwritten(head_file, tmp_path):
    (tmp_path / "001").mkdir()
    (tmp_path / "001" / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(CaptureError, match="would be lost"):
        write_fit_set(options(head_file, tmp_path))
    assert (tmp_path / "001" / "photo.jpg").read_bytes() == b"mine"


def test_layout(folder):
    document = json.loads((folder / "fits.json").read_text())
    assert document["items"] == [{"name": "000", "views": 3}, {"name": "001", "views": 1}]
    assert len(list(folder.iterdir())) == 3
    capture = read_capture(folder / "000")
    assert capture.unit == "m"
    assert len(capture.views) == 3
    info = json.loads((folder / "000" / "gt" / "info.json").read_text())
    for view, focal in zip(capture.views, info["focal_px"], strict=True):
        assert view.camera.K[0, 0] == pytest.approx(focal, abs=1e-3)
        mask = view.load_mask()
        assert 0.05 < mask.mean() < 0.95
    assert cv2.imread(str(folder / "001" / "images" / "00.jpg")).shape == (64, 64, 3)


def test_truth_lies_where_the_cameras_see_it(folder):
    """Landmarks project to their pixels, and what is no hair in the mask is the mesh."""
    item = folder / "000"
    truth = json.loads((item / "gt" / "landmarks.json").read_text())
    vertex, faces = read_properties(item / "gt" / "mesh.ply")
    points = np.column_stack([vertex[k] for k in "xyz"]).astype(float)
    for view in read_capture(item).views:
        pixels, _ = view.camera.project(np.array(truth["xyz"]))
        np.testing.assert_allclose(pixels, truth["views"][view.name]["uv"], atol=1e-2)
        covered = rasterise(*view.camera.project(points), faces, (64, 64), False).face >= 0
        hair = cv2.imread(str(item / "gt" / "hair" / f"{view.name[:2]}.png"), 0) > 0
        bare = view.load_mask() & ~hair
        assert bare.sum() > 100
        assert covered[bare].mean() > 0.95


def test_neutral_is_the_person_without_expression(folder, studio):
    """Its difference from the posed head is the expression's modes, and the bent neck's."""
    meshes = [
        read_properties(folder / "000" / "gt" / f"{name}.ply")[0] for name in ("mesh", "neutral")
    ]
    posed, neutral = (100 * np.column_stack([mesh[k] for k in "xyz"]) for mesh in meshes)
    info = json.loads((folder / "000" / "gt" / "info.json").read_text())
    assert info["expression"]
    head = studio.head
    rows = [head.expression_names.index(name) for name in info["expression"]]
    values = np.array(list(info["expression"].values()))
    moved = (values @ head.expression_modes[rows]).reshape(-1, 3)
    wanted = np.column_stack([moved[:, 0], -moved[:, 2], moved[:, 1]])
    high = neutral[:, 2] > 4
    np.testing.assert_allclose((posed - neutral)[high], wanted[high], atol=1e-3)
    np.testing.assert_array_equal(meshes[0]["u"], meshes[1]["u"])
    eyes = [neutral[slice(*head.ranges[k])].mean(axis=0) for k in EYEBALL_RANGES]
    assert info["pupils_mm"] == pytest.approx(10 * np.linalg.norm(eyes[0] - eyes[1]), abs=0.06)
    assert 40 < info["pupils_mm"] < 90


def test_the_same_bytes_again_over_older_ones(folder, head_file, tmp_path):
    (tmp_path / "001" / "gt").mkdir(parents=True)
    for name in ("stale", "gt/info.json"):
        (tmp_path / "001" / name).write_text("")
    write_fit_set(options(head_file, tmp_path))
    files = [
        sorted(p.relative_to(k) for k in [f] for p in f.rglob("*") if p.is_file())
        for f in (folder, tmp_path)
    ]
    assert files[0] == files[1]
    for path in files[0]:
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes()


def test_nothing_hides_a_sitter(studio):
    for seed in range(30):
        person = sitter(studio, np.random.default_rng(seed))
        assert person.hat is None
        assert person.hood is None
        assert not person.dark_lenses
        assert person.expression.any()


def test_options_are_checked(head_file, tmp_path):
    with pytest.raises(ValueError, match="multi"):
        FitSetOptions(head_file, tmp_path, people=2, multi=3)
    with pytest.raises(ValueError, match="size"):
        FitSetOptions(head_file, tmp_path, size=8)
