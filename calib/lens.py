"""From the distorted picture to the pinhole picture of the same K and size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calib.camera import MODEL_PARAMS, Camera

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

_BROWN = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")


def brown_coefficients(camera: Camera) -> npt.NDArray[np.float64] | None:
    """k1 k2 p1 p2 k3 k4 k5 k6, (8,) in OpenCV's order; None where the lens is of another kind.

    Source: https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html
    """
    if camera.model not in _BROWN:
        return None
    named = dict(zip(MODEL_PARAMS[camera.model], camera.params.tolist(), strict=True))
    named.setdefault("k1", named.get("k", 0.0))
    names = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    return np.array([named.get(name, 0.0) for name in names])


def undistortion_map(camera: Camera) -> FloatArray:
    """Where each pixel of the pinhole picture lies in the distorted one.

    Args:
        camera: as calibrated.

    Returns:
        (H, W, 2) float32 pixel positions; NaN where the lens does not reach or the distorted
        picture ends.
    """
    y, x = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    pixels = np.stack([x, y], axis=-1)
    if camera.is_pinhole:
        return pixels.astype(np.float32)
    at_origin = camera.with_pose(np.eye(3, 4))
    rays = at_origin.as_pinhole().unproject(pixels.reshape(-1, 2))
    distorted = at_origin.project(rays)[0]
    size = (camera.width, camera.height)
    outside = ~((distorted >= 0) & (distorted <= size)).all(axis=1)
    outside |= ~_returns(at_origin, distorted, rays)
    distorted[outside] = np.nan
    return distorted.reshape(*pixels.shape).astype(np.float32)


def distortion_map(camera: Camera) -> FloatArray:
    """Where each pixel of the distorted picture lies in the pinhole one.

    Args:
        camera: as calibrated.

    Returns:
        (H, W, 2) float32 pixel positions; NaN where the lens model ends.
    """
    y, x = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    pixels = np.stack([x, y], axis=-1)
    if camera.is_pinhole:
        return pixels.astype(np.float32)
    at_origin = camera.with_pose(np.eye(3, 4))
    rays = at_origin.unproject(pixels.reshape(-1, 2))
    straight = at_origin.as_pinhole().project(rays)[0]
    return straight.reshape(*pixels.shape).astype(np.float32)


def valid_mask(mapping: FloatArray) -> BoolArray:
    """(H, W) bool: where a map of ``undistortion_map`` has a source."""
    return np.asarray(np.isfinite(mapping).all(axis=2))


def warp_image(image: ByteArray, mapping: FloatArray) -> ByteArray:
    """Resample a picture bilinearly.

    Args:
        image: (H, W) or (H, W, C) uint8, distorted.
        mapping: (H, W, 2) of ``undistortion_map``.

    Returns:
        Picture of the map's size; 0 where there is no source.
    """
    import cv2

    source = np.nan_to_num(mapping - np.float32(0.5), nan=-10.0)
    warped: ByteArray = cv2.remap(  # type: ignore[assignment]
        image, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    warped = np.ascontiguousarray(warped, np.uint8)
    warped[~valid_mask(mapping)] = 0
    return warped


def warp_mask(mask: BoolArray, mapping: FloatArray) -> BoolArray:
    """Resample a mask by its nearest pixel.

    Args:
        mask: (H, W) bool, distorted.
        mapping: (H, W, 2) of ``undistortion_map``.

    Returns:
        Mask of the map's size; False where there is no source.
    """
    valid = valid_mask(mapping)
    column, row = np.floor(np.nan_to_num(mapping)).astype(np.intp).transpose(2, 0, 1)
    column = np.clip(column, 0, mask.shape[1] - 1)
    row = np.clip(row, 0, mask.shape[0] - 1)
    return np.asarray(mask[row, column] & valid)


def _returns(
    camera: Camera, distorted: npt.NDArray[np.float64], rays: npt.NDArray[np.float64]
) -> BoolArray:
    """Whether distorted pixels belong to these rays and not to a folded-over part of the model."""
    back = np.full_like(rays, np.nan)
    known = np.isfinite(distorted).all(axis=1)
    back[known] = camera.unproject(distorted[known])
    return np.asarray((back * rays).sum(axis=1) > 1 - 1e-6)


def distort(camera: Camera, pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where places of the pinhole picture lie in the distorted one.

    Args:
        camera: as calibrated.
        pixels: (N, 2) in the pinhole picture.

    Returns:
        (N, 2), NaN where the lens does not reach.
    """
    if camera.is_pinhole:
        return np.array(pixels, np.float64)
    at_origin = camera.with_pose(np.eye(3, 4))
    return at_origin.project(at_origin.as_pinhole().unproject(pixels))[0]
