import tracemalloc

import numpy as np
import pytest

from calib.camera import MODEL_PARAMS, Camera
from calib.lens import (
    distortion_map,
    shown_share,
    undistortion_map,
    valid_mask,
    warp_image,
    warp_mask,
)
from tests.calib.lenses import PARAMS

DISTORTED = [model for model in PARAMS if "PINHOLE" not in model]
SCALE = 3
# Lenses for a picture of 200 x 180 that bend strongly, fold, or see 180 degrees and more.
STRONG = [
    ("SIMPLE_RADIAL", (100, 100, 100, -0.9)),
    ("SIMPLE_RADIAL", (100, 100, 100, 0.5)),
    ("RADIAL", (60, 100, 100, -0.4, 0.05)),
    ("RADIAL", (30, 100, 90, -0.4, 0.05)),  # rises again beyond its fold, inside the picture
    ("OPENCV", (70, 70, 100, 90, -0.5, 0.1, 0.02, -0.01)),
    ("OPENCV", (100, 100, 100, 90, 0.4, -0.3, 0.01, 0.02)),
    ("OPENCV", (40, 40, 100, 90, -0.3, 0.02, 0.01, 0.0)),
    ("FULL_OPENCV", (70, 70, 100, 90, -0.5, 0.3, 0.01, -0.02, -0.1, 0.1, 0.05, 0.01)),
    ("FULL_OPENCV", (70, 70, 100, 90, 8, 5, 0.001, -0.002, 0.5, 8.3, 7, 1.5)),
    ("OPENCV_FISHEYE", (60, 60, 100, 90, 0.1, -0.1, 0.05, -0.02)),
    ("OPENCV_FISHEYE", (40, 40, 100, 90, -0.2, 0.1, -0.05, 0.01)),
    ("SIMPLE_FISHEYE", (40, 100, 90)),
    ("FISHEYE", (40, 45, 100, 90)),
    ("SIMPLE_RADIAL_FISHEYE", (40, 100, 90, 0.05)),
    ("SIMPLE_RADIAL_FISHEYE", (40, 100, 90, -0.2)),
    ("RADIAL_FISHEYE", (40, 100, 90, -0.1, 0.02)),
    ("FOV", (60, 60, 100, 90, 1.5)),
    ("EUCM", (40, 40, 100, 90, 0.6, 1.2)),
    ("EUCM", (60, 60, 100, 90, 0.9, 2.0)),
    ("SIMPLE_DIVISION", (60, 100, 90, -0.4)),
    ("DIVISION", (60, 60, 100, 90, 0.3)),
    ("THIN_PRISM_FISHEYE", (40, 40, 100, 90, 0.1, -0.05, 0.01, -0.01, 0.01, 0, 0.02, -0.02)),
    (
        "RAD_TAN_THIN_PRISM_FISHEYE",
        (40, 40, 100, 90, 0.1, -0.05, 0.01, -0.01, 0.002, -0.001, *6 * (0.01,)),
    ),
]


def camera_of(model):
    """A picture of 360 x 270: fine enough for bilinear interpolation to be nearly exact."""
    params = np.array(PARAMS[model], float)
    n_linear = 3 if len(params) == 3 or PARAMS[model][1] == 61 else 4
    params[:n_linear] *= SCALE
    return Camera(model, 120 * SCALE, 90 * SCALE, params, np.eye(3, 4))


def pixel_centers(camera):
    return np.stack(
        np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1
    )


def seen(camera):
    """What the camera would see of a smooth pattern at infinity, (H, W) in 0..255."""
    rays = camera.unproject(pixel_centers(camera).reshape(-1, 2))
    x, y = (rays[:, :2] / rays[:, 2:]).T
    value = 127 + 60 * np.sin(14 * x + 5 * y) + 60 * np.cos(13 * y - 3 * x)
    return np.nan_to_num(value).reshape(camera.height, camera.width)


@pytest.mark.parametrize("model", DISTORTED)
def test_undistorted_picture_is_what_a_pinhole_would_have_seen(model):
    camera = camera_of(model)
    mapping = undistortion_map(camera)
    image = np.round(seen(camera)).astype(np.uint8)
    straight = warp_image(np.dstack([image] * 3), mapping)
    valid = valid_mask(mapping)
    assert valid.mean() > 0.75
    error = np.abs(straight[..., 1] - seen(camera.as_pinhole()))[valid]
    # A shift by half a pixel would be an error of 5 and more over the pattern's slopes.
    assert np.percentile(error, 95) < 1.6
    assert (straight[~valid] == 0).all()


@pytest.mark.parametrize("model", DISTORTED)
def test_maps_undo_each_other(model):
    camera = camera_of(model)
    there, back = undistortion_map(camera), distortion_map(camera)
    inner = np.s_[40:-40, 60:-60]
    target = there[inner].reshape(-1, 2)
    column, row = np.floor(target).astype(int).T
    # The inverse at the nearest pixel centre, moved by what is left over (the map is smooth).
    left_over = target - (np.column_stack([column, row]) + 0.5)
    step_x = back[row, column + 1] - back[row, column]
    step_y = back[row + 1, column] - back[row, column]
    found = back[row, column] + left_over[:, :1] * step_x + left_over[:, 1:] * step_y
    expected = pixel_centers(camera)[inner].reshape(-1, 2)
    assert np.abs(found - expected).max() < 0.02


def test_without_distortion_nothing_moves():
    camera = Camera("PINHOLE", 8, 6, [9, 9, 4, 3], np.eye(3, 4))
    image = np.arange(8 * 6, dtype=np.uint8).reshape(6, 8)
    mask = image % 3 == 0
    for mapping in (undistortion_map(camera), distortion_map(camera)):
        np.testing.assert_array_equal(mapping, pixel_centers(camera))
        np.testing.assert_array_equal(warp_image(image, mapping), image)
        np.testing.assert_array_equal(warp_mask(mask, mapping), mask)


def test_a_mask_follows_the_picture():
    camera = camera_of("OPENCV")
    mapping = undistortion_map(camera)
    bright = seen(camera) > 127
    picture = warp_image(np.where(bright, 255, 0).astype(np.uint8), mapping)
    mask = warp_mask(bright, mapping)
    assert mask.dtype == bool
    clear = valid_mask(mapping) & ((picture < 30) | (picture > 225))
    assert clear.mean() > 0.7
    np.testing.assert_array_equal(mask[clear], picture[clear] > 127)


def test_where_a_lens_folds_over_there_is_no_source():
    """With k = -0.9 the image shrinks again beyond r = 0.61: those pixels must not be filled."""
    camera = Camera("SIMPLE_RADIAL", 200, 200, [100, 100, 100, -0.9], np.eye(3, 4))
    valid = valid_mask(undistortion_map(camera))
    radius = np.linalg.norm(pixel_centers(camera) - 100, axis=-1) / 100
    assert valid[radius < 0.58].all()
    assert not valid[radius > 0.66].any()


def strong_camera(model, params, scale=1):
    n_linear = MODEL_PARAMS[model].index("cy") + 1
    params = np.array(params, float)
    params[:n_linear] *= scale
    return Camera(model, 200 * scale, 180 * scale, params, np.eye(3, 4))


def test_every_lens_bends_strongly_somewhere():
    assert {model for model, _ in STRONG} == set(DISTORTED)


@pytest.mark.parametrize(("model", "params"), STRONG)
def test_a_strong_lens_neither_folds_nor_invents(model, params):
    """Valid pixels are where their ray is seen, each in a place of its own, around the axis."""
    camera = strong_camera(model, params)
    mapping = undistortion_map(camera)
    valid = valid_mask(mapping)
    np.testing.assert_array_equal(valid, np.isfinite(mapping).all(axis=2))
    assert valid[80:100, 90:110].all()
    rays = camera.as_pinhole().unproject(pixel_centers(camera)[valid])
    np.testing.assert_allclose(camera.project(rays)[0], mapping[valid], atol=1e-4)
    assert (mapping[valid] >= 0).all()
    assert (mapping[valid] <= [camera.width, camera.height]).all()
    right, down = np.diff(mapping, axis=1)[:-1], np.diff(mapping, axis=0)[:, :-1]
    turned = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    assert not (turned <= 0).any()
    # No ring of pixels beyond a fold: from the axis outwards, what has ended has ended.
    y, x = np.nonzero(valid)
    for t in (0.25, 0.5, 0.75):
        column = (camera.K[0, 2] + t * (x + 0.5 - camera.K[0, 2])).astype(int)
        row = (camera.K[1, 2] + t * (y + 0.5 - camera.K[1, 2])).astype(int)
        assert valid[row, column].mean() > 0.999


@pytest.mark.parametrize(("model", "params"), STRONG)
def test_folds_are_found_pixel_by_pixel_as_in_cells(model, params, monkeypatch):
    camera = strong_camera(model, params)
    by_cells = undistortion_map(camera)
    monkeypatch.setattr("calib.lens._unfolded_cells", lambda *_: np.zeros((180, 200), bool))
    np.testing.assert_array_equal(by_cells, undistortion_map(camera))


@pytest.mark.parametrize(("model", "params"), STRONG)
def test_a_ray_of_a_pixel_is_seen_there_or_there_is_none(model, params):
    camera = strong_camera(model, params)
    pixels = pixel_centers(camera).reshape(-1, 2)
    rays = camera.unproject(pixels)
    known = np.isfinite(rays).all(axis=1)
    assert known.reshape(180, 200)[80:100, 90:110].all()
    assert (rays[known, 2] > 0).all()
    np.testing.assert_allclose(camera.project(rays[known])[0], pixels[known], atol=0.011)


def test_what_a_fisheye_sees_beyond_90_degrees_is_not_mirrored():
    """f = 40 and an equidistant lens: 90 degrees are 62.8 pixels from the axis."""
    camera = Camera("SIMPLE_FISHEYE", 200, 180, [40, 100, 90], np.eye(3, 4))
    pixels = pixel_centers(camera)
    radius = np.linalg.norm(pixels - [100, 90], axis=-1)
    straight = distortion_map(camera)
    ahead = np.isfinite(straight).all(axis=2)
    np.testing.assert_array_equal(ahead, radius < 40 * np.pi / 2)
    expected = 40 * np.tan(radius[ahead] / 40)
    found = np.linalg.norm(straight[ahead] - [100, 90], axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_of_a_fisheye_the_middle_is_shown_at_its_resolution():
    camera = Camera("SIMPLE_FISHEYE", 200, 180, [40, 100, 90], np.eye(3, 4))
    mapping = undistortion_map(camera)
    assert valid_mask(mapping).all()
    middle = mapping[89:92, 99:102]
    np.testing.assert_allclose(np.diff(middle, axis=1)[..., 0], 1, atol=2e-3)
    # The corner of the pinhole picture is at atan(hypot(100, 90) / 40) = 73.4 degrees.
    corner = np.linalg.norm(mapping[0, 0] - [100, 90])
    assert corner == pytest.approx(40 * np.arctan(np.hypot(99.5, 89.5) / 40), abs=1e-3)


def test_how_much_of_a_picture_its_pinhole_shows():
    def share(model, params):
        return shown_share(Camera(model, 200, 200, params, np.eye(3, 4)))

    assert share("SIMPLE_PINHOLE", [100, 100, 100]) == 1
    assert share("SIMPLE_RADIAL", [100, 100, 100, 0.1]) == 1  # it shows more
    # Of an equidistant lens: |x|, |y| < 100 of the pinhole, f tan(r / f).
    pixels = np.stack(np.meshgrid(*2 * (np.arange(1000) / 5 - 99.9,)), axis=-1)
    radius = np.linalg.norm(pixels, axis=-1)
    far = np.abs(pixels).max(axis=-1) / radius * 60 * np.tan(np.minimum(radius / 60, 1.57))
    assert share("SIMPLE_FISHEYE", [60, 100, 100]) == pytest.approx((far < 100).mean(), abs=0.02)


def test_a_large_picture_takes_little_more_than_its_map():
    """In blocks: what is held beside the results is small, and parts are as the whole."""
    camera = strong_camera("OPENCV", (160, 160, 100, 90, -0.2, 0.05, 0.002, -0.001), 10)
    image = np.random.default_rng(0).integers(0, 256, (camera.height, camera.width), np.uint8)
    tracemalloc.start()
    try:
        mapping = undistortion_map(camera)
        map_peak = tracemalloc.get_traced_memory()[1] - mapping.nbytes
        tracemalloc.reset_peak()
        warped = warp_image(image, mapping)
        kept = warp_mask(image > 127, mapping)
        peak = tracemalloc.get_traced_memory()[1] - mapping.nbytes - 3 * image.nbytes
    finally:
        tracemalloc.stop()
    assert mapping.nbytes == 8 * 2000 * 1800
    assert map_peak < 40e6
    assert peak < 20e6
    rows = np.s_[1000:1100]
    np.testing.assert_array_equal(warp_image(image, mapping[rows]), warped[rows])
    np.testing.assert_array_equal(warp_mask(image > 127, mapping[rows]), kept[rows])


def test_maps_are_kept_up_to_a_limit(monkeypatch):
    from calib import lens

    params = np.array([100.0, 100, 32, 24, -0.1, 0.02, 0, 0])
    cameras = [Camera("OPENCV", 64, 48, params + k, np.eye(3, 4)) for k in range(3)]
    made = []
    real = lens.undistortion_map
    monkeypatch.setattr(lens, "undistortion_map", lambda c: made.append(c) or real(c))
    kept = lens.KeptMaps(2.5 * 64 * 48 * 8 / 1e6)
    for camera in (*cameras, *cameras):
        moved = camera.with_pose(np.column_stack([np.eye(3), [1.0, 2, 3]]))
        np.testing.assert_array_equal(kept(moved), real(camera))
    # Two fit; the third is made again.
    assert [c.params[0] for c in made] == [100, 101, 102, 102]
