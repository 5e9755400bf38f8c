import numpy as np
import pytest

from calib.camera import Camera
from calib.lens import distortion_map, undistortion_map, valid_mask, warp_image, warp_mask
from tests.calib.lenses import PARAMS

DISTORTED = [model for model in PARAMS if "PINHOLE" not in model]
SCALE = 3


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
