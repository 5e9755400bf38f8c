import numpy as np
import pytest

from mvs.stages.levels import double, from_pixels, to_pixels


def plane_at(x, y):
    return 0.5 + 0.01 * x - 0.02 * y


@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_and_the_pixels_that_stand_for_them(stride):
    """Of one plane in a picture: blocks have its value in their middle, pixels in theirs."""
    row, column = np.mgrid[:5, :7]
    blocks = np.empty((5, 7, 3), np.float32)
    blocks[..., 0] = plane_at((column + 0.5) * stride, (row + 0.5) * stride)
    blocks[..., 1:] = 0.01 * stride, -0.02 * stride
    pixels = to_pixels(blocks, stride)
    half = stride // 2 + 0.5
    np.testing.assert_allclose(
        pixels[..., 0], plane_at(column * stride + half, row * stride + half), atol=1e-6
    )
    np.testing.assert_allclose(pixels[..., 1:], np.broadcast_to([0.01, -0.02], (5, 7, 2)))
    np.testing.assert_allclose(from_pixels(pixels, stride), blocks, atol=1e-6)


def test_doubling_stays_on_the_plane():
    row, column = np.mgrid[:5, :7]
    planes = np.empty((5, 7, 3), np.float32)
    planes[..., 0] = plane_at(2 * column + 1.0, 2 * row + 1.0)
    planes[..., 1:] = 0.02, -0.04
    fine = double(planes, (11, 14))
    row, column = np.mgrid[:11, :14]
    np.testing.assert_allclose(fine[..., 0], plane_at(column + 0.5, row + 0.5), atol=1e-6)
