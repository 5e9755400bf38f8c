"""Tracks of a COLMAP capture whose points are known exactly."""

import cv2
import numpy as np
import pycolmap
import pytest

from calib.capture import CaptureError
from calib.colmap import write_model
from calib.formats import read_capture
from mvs.tracks.head import find_head
from mvs.tracks.make import write_tracks
from mvs.tracks.options import TracksOptions
from mvs.tracks.pairs import read_description, read_pairs
from mvs.tracks.sparse import read_observations
from tests.scenes import make_scene, write_capture
from tests.tracks.moving import BrightEmbedder

LENSES = {
    "pinhole": ("PINHOLE", ()),
    "distorted": ("OPENCV", (-0.12, 0.03, 0.002, -0.001)),
}


def make_capture(folder, lens=LENSES["pinhole"], n_points=400, with_masks=False):
    """A scene as a capture with sparse points, and where each view sees each (NaN: it does not)."""
    scene = make_scene(4, 160, 60.0, lens=lens)
    write_capture(scene, folder)
    if not with_masks:
        for path in (folder / "masks").iterdir():
            path.unlink()
        (folder / "masks").rmdir()
    rng = np.random.default_rng(1)
    points = np.vstack(
        [rng.permutation(scene.surface_points(v))[: n_points // 4] for v in range(4)]
    )
    truth = np.stack([camera.project(points)[0] for camera in scene.cameras])
    for view, camera in enumerate(scene.cameras):
        x, y = np.clip(np.nan_to_num(truth[view]), 0, 159).astype(int).T
        seen = np.abs(camera.project(points)[1] - scene.depths[view][y, x]) < 0.002
        truth[view][~seen] = np.nan
    rows = [np.flatnonzero(~np.isnan(view[:, 0])) for view in truth]
    write_model(folder / "sparse/0", scene.names, scene.cameras, points, rows)
    return scene, truth


@pytest.mark.parametrize("lens", list(LENSES))
def test_pairs_are_the_projections_of_the_true_points(tmp_path, lens):
    scene, truth = make_capture(tmp_path / "capture", LENSES[lens])
    options = TracksOptions(output=tmp_path, min_points=40, pairs_per_picture=3)
    report = write_tracks(tmp_path / "capture", BrightEmbedder(45), options)
    (shard,) = read_pairs(tmp_path)
    assert (report.kind, report.n_pictures, report.n_heads) == ("capture", 4, 4)
    assert len(shard) >= 4
    described = read_description(tmp_path)["pairs"]
    for record, about in zip(shard, described, strict=True):
        views = [scene.names.index(name) for name in about["pictures"]]
        both = np.stack([truth[view] for view in views], axis=1)
        ends = []
        for side in range(2):
            x, y, length = about["squares"][side]
            points = record["points"][: record["n_points"], side].astype(np.float64)
            ends.append(points * length / 256 + [x - length / 2, y - length / 2])
        # Both ends belong to the same true point.
        gaps = np.stack(ends, axis=1)[:, None] - both[None]
        nearest = np.nanmin(np.linalg.norm(gaps, axis=3).max(axis=2), axis=1)
        assert nearest.max() < 1e-3
        assert record["n_points"] == about["n_points"]


def test_crops_show_what_the_pictures_show(tmp_path):
    scene, _ = make_capture(tmp_path / "capture")
    write_tracks(
        tmp_path / "capture", BrightEmbedder(45), TracksOptions(output=tmp_path, min_points=40)
    )
    record = read_pairs(tmp_path)[0][0]
    about = read_description(tmp_path)["pairs"][0]
    for side, name in enumerate(about["pictures"]):
        image = scene.images[scene.names.index(name)].astype(float)
        x, y, length = about["squares"][side]
        crop_points = record["points"][: record["n_points"], side]
        pixels = crop_points * length / 256 + [x - length / 2, y - length / 2]
        column, row = pixels.astype(int).T
        left, top = crop_points.astype(int).T
        there, here = image[row, column], record["images"][side][top, left].astype(float)
        # A pixel of the crop is smaller than one of the picture, so they differ by its slope.
        assert np.abs(there - here).mean() < 6
        shifted = record["images"][side][top, np.clip(left + 8, 0, 255)].astype(float)
        assert np.abs(there - shifted).mean() > 10
        assert record["mask"][side][top // 2, left // 2].all()


def test_observations_are_those_of_the_model(tmp_path):
    scene, truth = make_capture(tmp_path / "capture", LENSES["distorted"])
    observed = read_observations(read_capture(tmp_path / "capture"))
    for view, name in zip(truth, scene.names, strict=True):
        np.testing.assert_allclose(observed[name].pixels, view[~np.isnan(view[:, 0])])
        assert observed[name].errors.max() < 1e-6


def test_observations_far_from_their_point_are_dropped(tmp_path):
    scene, _ = make_capture(tmp_path / "capture")
    model = pycolmap.Reconstruction(str(tmp_path / "capture/sparse/0"))
    image = next(image for image in model.images.values() if image.name == scene.names[1])
    for index in range(0, len(image.points2D), 2):
        image.points2D[index].xy += np.array([3.0, 0.0])
    model.write_binary(str(tmp_path / "capture/sparse/0"))
    observed = read_observations(read_capture(tmp_path / "capture"))[scene.names[1]]
    wrong = np.arange(len(observed.points)) % 2 == 0
    np.testing.assert_allclose(observed.errors, np.where(wrong, 3.0, 0.0), atol=1e-6)
    head = find_head(scene.names[1], scene.images[1], BrightEmbedder(45), 2)
    kept = observed.on(head, 1.0)
    assert len(kept.points) > 50
    assert kept.errors.max() < 1e-6


def test_a_model_that_contradicts_itself(tmp_path):
    make_capture(tmp_path / "capture")
    path = tmp_path / "capture/sparse/0/points3D.bin"
    data = bytearray(path.read_bytes())
    # The first point's track refers to an image that is not there.
    data[8 + 51 : 8 + 51 + 4] = (77).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(CaptureError, match="damaged model"):
        read_observations(read_capture(tmp_path / "capture"))


def test_masks_of_the_capture_hold(tmp_path):
    scene, _ = make_capture(tmp_path / "capture", with_masks=True)
    half = np.zeros((160, 160), np.uint8)
    half[:, :80] = 255
    for name in scene.names:
        cv2.imwrite(str(tmp_path / "capture/masks" / f"{name}.png"), half)
    options = TracksOptions(output=tmp_path, min_points=10)
    write_tracks(tmp_path / "capture", BrightEmbedder(45), options)
    for record, about in zip(
        read_pairs(tmp_path)[0], read_description(tmp_path)["pairs"], strict=True
    ):
        for side, (x, _, length) in enumerate(about["squares"]):
            columns = record["points"][: record["n_points"], side, 0] * length / 256
            assert (columns + x - length / 2).max() <= 80


def test_a_capture_without_points_is_refused(tmp_path):
    write_capture(make_scene(2, 64), tmp_path / "capture")
    with pytest.raises(CaptureError, match="the model has no sparse points, so no tracks"):
        write_tracks(tmp_path / "capture", BrightEmbedder(), TracksOptions(output=tmp_path))


def test_too_few_points_are_counted(tmp_path):
    make_capture(tmp_path / "capture", n_points=120)
    with pytest.raises(ValueError, match=r"share 200 points on the head, \d+ at most .*min-points"):
        write_tracks(
            tmp_path / "capture",
            BrightEmbedder(45),
            TracksOptions(output=tmp_path, min_points=200),
        )
